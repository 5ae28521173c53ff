"""The example plugins: they keep the contract and give what their documentation says."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import Engine
from engine.api import Function, RowError
from engine.registry import PluginKind, PluginRegistry
from engine.testing import Feed, check_function, check_sink, run_case
from tests.conftest import eventually

TINY = 1e-12  # degrees; a billionth of the thickness of a hair
LATITUDE = st.floats(-90, 90)
LONGITUDE = st.floats(-180, 180)


def result(name: str, *args: Any) -> Any:
    """Return what a function gives, or the text of its error."""
    try:
        return instance(name).exec(None, *args)  # type: ignore[arg-type]
    except RowError as error:
        return error.message


@pytest.fixture(autouse=True, scope="module")
def loaded() -> None:
    """Load them before hypothesis measures how long an example takes."""
    for name in PluginRegistry(Path("/nowhere")).describe(PluginKind.FUNCTION, "geohash").functions:
        instance(name)


@cache
def instance(name: str) -> Function:
    made: Function = PluginRegistry(Path("/nowhere")).get(PluginKind.FUNCTION, name).instance()
    return made


# -- the small ones ----------------------------------------------------------------------------


def test_echo_gives_back_anything() -> None:
    values: list[Any] = [1, "a", None, [1, {"b": 2}], 2.5, True]
    assert check_function("echo", calls=[(value,) for value in values]).results == values


def test_words_are_counted_over_all_rows() -> None:
    calls = [("a b", " "), ("c", " "), (None, " "), ("d,e", ",")]
    assert check_function("accumulateWordCount", calls=calls).results == [2, 3, 3, 5]


def test_count_plus_one() -> None:
    assert check_function("countPlusOne", calls=[(1,), (None,), (3,)]).results == [2, 3, 4]


async def test_count_plus_one_in_a_window(tmp_path: Path) -> None:
    outcome = await run_case(
        "SELECT countPlusOne(a) AS n FROM demo GROUP BY COUNTWINDOW(2)",
        [Feed.of("CREATE STREAM demo () WITH ()", *((n, {"a": n}) for n in range(5)))],
        root=tmp_path,
    )
    assert outcome.rows == [{"n": 3}, {"n": 3}]


# -- geohashes ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("latitude", "longitude", "hash_"),
    [  # places that are found in many descriptions of the scheme
        (57.64911, 10.40744, "u4pruydqqvj8"),
        (48.669, -4.329, "gbsuv7ztqzpt"),
        (42.6, -5.6, "ezs42e44yx96"),
        (0, 0, "s00000000000"),
        (90, 180, "zzzzzzzzzzzz"),
        (-90, -180, "000000000000"),
    ],
)
def test_places_have_the_hashes_that_all_the_world_uses(
    latitude: float, longitude: float, hash_: str
) -> None:
    assert result("geohashEncode", latitude, longitude) == hash_
    assert result("geohashEncode", latitude, longitude, 5) == hash_[:5]


@given(LATITUDE, LONGITUDE, st.integers(1, 12))
def test_a_place_lies_in_its_rectangle(latitude: float, longitude: float, length: int) -> None:
    hash_ = result("geohashEncode", latitude, longitude, length)
    box = result("geohashBoundingBox", hash_)
    assert box["MinLat"] - TINY <= latitude <= box["MaxLat"] + TINY
    assert box["MinLng"] - TINY <= longitude <= box["MaxLng"] + TINY
    middle = result("geohashDecode", hash_)
    assert result("geohashEncode", middle["Latitude"], middle["Longitude"], length) == hash_


@given(LATITUDE, LONGITUDE, st.integers(1, 12))
def test_the_way_to_a_neighbour_and_back(latitude: float, longitude: float, length: int) -> None:
    here = result("geohashEncode", latitude, longitude, length)
    around = result("geohashNeighbors", here)
    assert len(around) in (5, 8)
    opposite = {"North": "South", "East": "West", "NorthEast": "SouthWest"}
    for there, back in (*opposite.items(), *((b, a) for a, b in opposite.items())):
        near = result("geohashNeighbor", here, there)
        if near is not None:
            assert near in around
            assert result("geohashNeighbor", near, back.lower()) == here


def test_neighbours_are_those_of_the_map() -> None:
    assert result("geohashNeighbors", "gbsuv") == [
        "gbsvj",
        "gbsvn",
        "gbsuy",
        "gbsuw",
        "gbsut",
        "gbsus",
        "gbsuu",
        "gbsvh",
    ]
    assert result("geohashNeighbor", "zzz", "north") is None
    assert result("geohashNeighbor", "zzz", "East") == "bpb"


def test_distances_are_metres() -> None:
    paris, london = "u09tvw0f6szy", "gcpvj0duq533"
    assert result("geohashDistance", paris, london) == pytest.approx(343_500, rel=0.01)
    assert result("geohashDistance", paris, paris) == 0


@pytest.mark.parametrize(
    ("name", "args", "why"),
    [
        ("geohashDecode", ("u4a",), "it has a 'a'"),
        ("geohashDecode", ("",), "no geohash"),
        ("geohashDecode", ("u" * 13,), "no geohash"),
        ("geohashEncode", (91, 0), "there is no place"),
        ("geohashEncode", (float("nan"), 0), "there is no place"),
    ],
)
def test_what_is_no_place_is_an_error_of_its_row(name: str, args: Any, why: str) -> None:
    assert why in str(result(name, *args))


def test_geohash_functions_keep_the_contract() -> None:
    check_function("geohashEncode", calls=[(1, 2), (3.5, -4)])
    check_function("geohashNeighbor", calls=[("u4", "North")])
    for name in ("geohashDecode", "geohashBoundingBox", "geohashNeighbors"):
        check_function(name, calls=[("u4",), (None,), ("!",)])
    check_function("geohashDistance", calls=[("u4", "gc")])


def test_wrong_literals_are_refused_when_a_rule_is_planned() -> None:
    check_function("geohashNeighbor", wrong=[("u4", "up"), (..., "up")])
    check_function("geohashEncode", wrong=[(1, 2, 13), (1, 2, 0), (1, 2, "a")])


# -- models ------------------------------------------------------------------------------------


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A root with two models: y = 2 a + 3 b + 1 of one table, and a + b of two columns."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from onnx import TensorProto, helper

    folder = tmp_path / "etc" / "functions" / "onnxScore"
    folder.mkdir(parents=True)

    def save(name: str, nodes: list[Any], inputs: list[Any], constants: list[Any]) -> None:
        output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])
        graph = helper.make_graph(nodes, "g", inputs, [output], constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
        model.ir_version = 9
        onnx.save(model, str(folder / name))

    table = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 2])
    weights = helper.make_tensor("w", TensorProto.FLOAT, [2, 1], [2, 3])
    offset = helper.make_tensor("b", TensorProto.FLOAT, [1], [1])
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["xw"]),
        helper.make_node("Add", ["xw", "b"], ["y"]),
    ]
    save("linear.onnx", nodes, [table], [weights, offset])
    columns = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 1]) for name in ("p", "q")
    ]
    save("sum.onnx", [helper.make_node("Add", ["p", "q"], ["y"])], columns, [])
    (folder / "text.onnx").write_text("no model")
    return tmp_path


def test_a_model_scores_rows_alone_and_together(models: Path) -> None:
    calls = [("linear.onnx", 1, 2), ("linear.onnx", 0.5, 0), ("linear.onnx", None, 1)]
    wrong = [(..., 1), ("linear.onnx",), ()]
    seen = check_function("onnxScore", models, calls, literals=[0], wrong=wrong)
    assert seen.results == [9, 2, None]
    assert check_function("onnxScore", models, [("sum.onnx", 1, 2)], literals=[0]).results == [3]


async def test_a_model_in_a_rule(models: Path) -> None:
    outcome = await run_case(
        "SELECT a, onnxScore('linear.onnx', a, b) AS score FROM demo "
        "WHERE onnxScore('linear.onnx', a, b) > 5",
        [Feed.of("CREATE STREAM demo () WITH ()", *((n, {"a": n, "b": 1}) for n in range(3)))],
        root=models,
    )
    assert outcome.rows == [{"a": 1, "score": 6}, {"a": 2, "score": 8}]


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (("missing.onnx", 1), "there is no model missing.onnx"),
        (("../../../etc/hosts", 1), "there is no model"),
        (("text.onnx", 1), "is no ONNX model"),
        (("linear.onnx", 1, 2, 3), "linear.onnx: "),
        (("linear.onnx", "a", 2), "linear.onnx: "),
    ],
)
def test_what_a_model_cant_do_is_an_error_of_the_row(
    models: Path, args: tuple[Any, ...], why: str
) -> None:
    (found,) = check_function("onnxScore", models, [args], literals=[0]).results
    assert why in str(found)


# -- Parquet -----------------------------------------------------------------------------------


def written(folder: Path) -> list[dict[str, Any]]:
    parquet = pytest.importorskip("pyarrow.parquet")
    files = sorted(folder.glob("*.parquet")) if folder.is_dir() else []
    return [row for file in files for row in parquet.read_table(file).to_pylist()]


def test_the_parquet_sink_keeps_the_contract(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    check_sink(
        "parquet",
        tmp_path,
        {"path": "out"},
        rows=[{"a": 1, "b": "x"}, {"a": 2.5, "c": [1, 2]}],
        received=lambda: written(tmp_path / "out"),
        wrong=[{}, {"path": "out", "compression": "rar"}, {"path": "out", "columns": {"a": "x"}}],
    )
    assert written(tmp_path / "out")[:2] == [
        {"a": 1, "b": "x", "c": None},
        {"a": 2.5, "b": None, "c": [1, 2]},
    ]


async def test_rows_that_dont_fit_are_rejected_and_the_others_written(engine: Engine) -> None:
    pytest.importorskip("pyarrow")
    properties = {"path": "out", "columns": {"n": "bigint"}, "sendSingle": True}
    rule = await engine.start(
        {"id": "r", "sql": "SELECT * FROM demo", "actions": [{"parquet": properties}]}
    )
    await eventually(lambda: rule.status.state == "running")
    rows = [{"n": 1, "t": "x"}, {"n": "one", "t": "y"}, {"n": 2, "t": 5}, {"n": 3}]
    await engine.push("demo", rows)
    await eventually(lambda: rule.metrics.balance().pending == 0)
    assert written(engine.root / "out") == [{"n": 1, "t": "x"}, {"n": 3, "t": None}]
    balance = rule.metrics.balance()
    assert (balance.delivered, balance.dropped) == (2, 2)
    assert balance.holds


async def test_files_of_another_run_stay(tmp_path: Path) -> None:
    for _ in range(2):
        async with Engine(tmp_path) as engine:
            engine.define_stream("demo", type="memory", datasource="demo")
            rule = {"id": "r", "sql": "SELECT * FROM demo", "actions": [{"parquet": {"path": "o"}}]}
            started = await engine.start(rule)
            await eventually(lambda started=started: started.status.state == "running")
            await engine.push("demo", [{"a": 1}])
            await eventually(lambda started=started: started.metrics.delivered == 1)
    assert written(tmp_path / "o") == [{"a": 1}, {"a": 1}]


def test_they_describe_themselves() -> None:
    registry = Engine(Path("/nowhere")).plugins
    functions = registry.describe(PluginKind.FUNCTION, "geohash").functions
    assert len(functions) == 6
    for name in ("echo", "countPlusOne", "accumulateWordCount"):
        assert registry.describe(PluginKind.FUNCTION, name).doc
