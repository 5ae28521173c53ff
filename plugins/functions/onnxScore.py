"""Ask a trained model: scores of rows by an ONNX file, such as scikit-learn's exporter writes."""
# /// script
# dependencies = ["onnxruntime>=1.17", "numpy"]
# ///

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy
import onnxruntime

from engine.api import ConfigError, Context, Function, RowError


class OnnxScore(Function):
    """onnxScore(model, feature, …): what a model gives for a row of numbers.

    The model is a file in ``etc/functions/onnxScore/``, by its name as a literal. It takes one
    table with a column for each feature, or one column for each. The value is that of its first
    output: a number, or a list of them; null if a feature is null. A model that is replaced counts
    when the rule starts again.
    """

    stateless = True
    _TYPES: ClassVar = {
        "tensor(float)": numpy.float32,
        "tensor(double)": numpy.float64,
        "tensor(int64)": numpy.int64,
    }

    def __init__(self) -> None:
        self._sessions: dict[str, Any] = {}

    def validate(self, args: Sequence[object]) -> None:
        if not args or not isinstance(args[0], str):
            raise ConfigError("the model must be a literal", hint="write onnxScore('m.onnx', a, b)")
        if len(args) < 2:
            raise ConfigError("it needs features", hint="write onnxScore('m.onnx', a, b)")

    def exec(self, ctx: Context, model: str, *features: float | None) -> Any:
        if any(feature is None for feature in features):
            return None
        return self._scores(ctx, model, [[feature] for feature in features])[0]

    def exec_batch(
        self, ctx: Context, models: Sequence[str], *features: Sequence[float | None]
    ) -> list[Any]:
        rows = zip(*features, strict=True)
        known = [index for index, row in enumerate(rows) if None not in row]
        results: list[Any] = [None] * len(models)
        if known:
            columns = [[column[index] for index in known] for column in features]
            scores = self._scores(ctx, models[0], columns)
            for index, score in zip(known, scores, strict=True):
                results[index] = score
        return results

    def _scores(self, ctx: Context, model: str, columns: Sequence[Sequence[Any]]) -> list[Any]:
        session = self._sessions.get(model) or self._load(ctx, model)
        try:
            outputs = session.run(None, self._inputs(session, model, columns))
        except RowError:
            raise
        except Exception as error:  # the library has no common base for its errors
            raise RowError(f"{model}: {str(error).splitlines()[0]}") from error
        first = outputs[0]
        if getattr(first, "ndim", 1) > 1 and first.shape[1] == 1:
            first = first[:, 0]
        found: list[Any] = first.tolist() if hasattr(first, "tolist") else list(first)
        return found

    def _inputs(self, session: Any, model: str, columns: Sequence[Sequence[Any]]) -> dict[str, Any]:
        inputs = session.get_inputs()
        if len(inputs) not in (1, len(columns)):
            raise RowError(f"{model} takes {len(inputs)} inputs, not {len(columns)}")
        if len(inputs) == 1:
            table = numpy.array(columns, dtype=self._type(inputs[0], model)).T
            return {inputs[0].name: numpy.ascontiguousarray(table)}
        return {
            one.name: numpy.array(column, dtype=self._type(one, model)).reshape(-1, 1)
            for one, column in zip(inputs, columns, strict=True)
        }

    def _type(self, one: Any, model: str) -> Any:
        if one.type not in self._TYPES:
            raise RowError(f"{model}: the input {one.name} takes {one.type}, no numbers")
        return self._TYPES[one.type]

    def _load(self, ctx: Context, model: str) -> Any:
        path = (ctx.data_path / model).resolve()
        if not path.is_relative_to(ctx.data_path.resolve()) or not path.is_file():
            raise RowError(f"there is no model {model} in {ctx.data_path}")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # rows of several rules come one batch after the other
        try:
            session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # the library has no common base for its errors
            raise RowError(f"{model} is no ONNX model: {str(error).splitlines()[0]}") from error
        self._sessions[model] = session
        return session
