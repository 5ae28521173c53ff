"""From a plan to the pipeline that runs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from engine.layout import Layout
from engine.ops.changed_columns import ChangedColumns
from engine.ops.hits import HitCount, HitTime
from engine.sql.compile import QueryOptions
from engine.sql.emissions import WindowOptions
from engine.sql.event_time import EventTime, EventTimeOptions
from engine.sql.finish import later_needs
from engine.sql.functions import FunctionRegistry
from engine.sql.join_pipeline import JoinPipeline
from engine.sql.joining import Lookup
from engine.sql.pipeline import EventTimePipeline, Pipeline, RowPipeline
from engine.sql.plan import Aggregate, Analytic, Having, Join, Plan, Rank, Scan, Window
from engine.sql.query import Bind, Bindings, Query
from engine.sql.remembering import AnalyticStage
from engine.sql.stage import Stage
from engine.sql.windowed import WindowPipeline


@dataclass(frozen=True, slots=True)
class PipelineOptions:
    """What a rule says about how its query is run; see the parts."""

    query: QueryOptions
    window: WindowOptions
    event_time: EventTimeOptions | None = None
    timestamp_formats: Mapping[str, str] = field(default_factory=dict)
    """TIMESTAMP_FORMAT by label of the stream."""
    lookups: Mapping[str, Lookup] = field(default_factory=dict)
    """The lookup tables by label."""
    retained: Mapping[str, int] = field(default_factory=dict)
    """How many rows of each scan table are kept, by label."""
    forwards_payloads: bool = False
    """Results may be the messages as they came; only for a query that changes nothing."""


def assemble(
    plan: Plan,
    layouts: Mapping[str, Layout],
    functions: FunctionRegistry,
    options: PipelineOptions,
    bind: Bind,
) -> Pipeline:
    """Return the pipeline of a plan; ``layouts`` are those of its streams, by label."""
    plan = msgspec.structs.replace(plan, carries_metadata=options.query.send_meta_to_sink)
    remembered = _remembered(plan)
    bindings = Bindings(bind, remembered)
    inner = _inner(plan, layouts, functions, options, bindings)
    if options.event_time is None:
        return inner

    def make_for(scan: Scan) -> Any:
        plain = QueryOptions()
        return lambda stage: Query(
            plan, layouts[scan.label], functions, plain, bindings, stage, scans=(scan,)
        )

    streams = [(scan, layouts[scan.label], make_for(scan)) for scan in plan.scans if scan.timestamp]
    event_time = EventTime(plan, streams, options.event_time, dict(options.timestamp_formats))
    return EventTimePipeline(inner, event_time, send_error=options.query.send_error)


def _remembered(plan: Plan) -> dict[str, Any]:
    """Return the states of the calls that the query itself computes, by their names in code."""
    hits = {
        f"h{index}": HitTime() if name.endswith("_time") else HitCount()
        for index, name in enumerate(plan.root.hits)
    }
    return {**hits, **{f"c{index}": ChangedColumns() for index in range(plan.root.changes)}}


def _inner(
    plan: Plan,
    layouts: Mapping[str, Layout],
    functions: FunctionRegistry,
    options: PipelineOptions,
    bindings: Bindings,
) -> Pipeline:
    layout = layouts[plan.scan.label]
    is_event_time = options.event_time is not None
    if plan.find(Join) is not None:
        return JoinPipeline(
            plan,
            layouts,
            functions,
            options.query,
            bindings,
            options.window,
            options.lookups,
            options.retained,
            is_event_time=is_event_time,
        )
    if any(plan.find(kind) is not None for kind in (Window, Aggregate, Having, Rank)):
        return WindowPipeline(
            plan,
            layout,
            functions,
            options.query,
            bindings,
            options.window,
            is_event_time=is_event_time,
        )

    def make(stage: Stage) -> Query:
        return Query(plan, layout, functions, QueryOptions(), bindings, stage)

    needs = later_needs(plan, before=(Scan,))
    analytic = None
    if (calls := plan.find(Analytic)) is not None:
        analytic = AnalyticStage(
            plan,
            calls.calls,
            make,
            functions,
            needs.supplied_by("time"),
            stream=plan.scan.label,
            max_partitions=options.window.max_partitions,
        )
    query = Query(
        plan,
        layout,
        functions,
        options.query,
        bindings,
        forwards_payloads=options.forwards_payloads,
    )
    with_time = bool(needs.supplied_by("time"))
    return RowPipeline(query, analytic, with_time=with_time)
