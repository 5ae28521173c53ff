import pytest

from engine.config.load import load_text
from engine.config.rule import RestartStrategy, RuleDef, RuleOptions
from engine.config.rules import options_from, rule_from
from engine.errors import ConfigError

RULE = "id: hot\nsql: SELECT 1\nactions: [{log: {}}]\n"


def rule(text: str) -> RuleDef:
    (found,) = load_text(text, file="r.yaml").rules.values()
    return found


def test_a_rule_has_the_documented_defaults() -> None:
    found = rule(RULE)

    assert (found.id, found.sql, found.name, found.version) == ("hot", "SELECT 1", "", "")
    assert (found.triggered, found.tags, found.temp, found.tests) == (True, (), False, ())
    assert found.options == RuleOptions()
    options = found.options
    assert (options.late_tolerance, options.checkpoint_interval) == (1, 300)
    assert (options.concurrency, options.buffer_length, options.qos) == (1, 1024, 0)
    assert (options.overflow, options.late) == (None, "drop")
    assert options.restart_strategy == RestartStrategy(
        attempts=0, delay=options.late_tolerance, multiplier=2, jitter_factor=0.1
    )
    assert options.restart_strategy.max_delay == 30


def test_all_that_a_rule_may_say() -> None:
    found = rule(
        """
        id: hot
        name: Hot
        version: "3"
        sql: SELECT 1
        triggered: false
        tags: [a, b]
        temp: true
        tests: [{name: t}]
        actions: [{log: {}}]
        options:
          isEventTime: true
          lateTolerance: 5s
          late: deadLetter
          idleTimeout: 1m
          maxAhead: 1h
          expectEvery: 500
          concurrency: 2
          bufferLength: "10"
          sendMetaToSink: "true"
          sendNilField: true
          sendError: true
          qos: "1"
          checkpointInterval: 60000
          enableSaveStateBeforeStop: true
          restartStrategy: {attempts: 3, delay: 500, multiplier: 1.5, maxDelay: 1m, jitterFactor: 0}
          cron: "*/5 * * * *"
          duration: 10s
          cronDatetimeRange:
            - {begin: 2026-01-31 08:00:00, end: "2026-01-31 18:00:00"}
            - {beginTimestamp: 1, endTimestamp: 2}
          debug: true
          logFilename: hot.log
          enableRuleTracer: true
          planOptimizeStrategy: {enableIncrementalWindow: true, windowOption: {windowVersion: v2}}
          experiment: {useSliceTuple: true}
          forceExitTimeout: 3s
          notifySub: false
        """
    )

    options = found.options
    assert (found.version, found.triggered, found.tags) == ("3", False, ("a", "b"))
    assert found.tests == ({"name": "t"},)
    assert (options.late_tolerance, options.idle_timeout, options.max_ahead) == (5, 60, 3600)
    assert (options.expect_every, options.qos, options.buffer_length) == (0.5, 1, 10)
    assert (options.checkpoint_interval, options.duration) == (60, 10)
    assert options.restart_strategy.delay == 0.5
    assert options.cron_datetime_range[0].begin == "2026-01-31 08:00:00"
    assert options.cron_datetime_range[1].end_timestamp == 2
    assert options.plan_optimize_strategy["windowOption"] == {"windowVersion": "v2"}


@pytest.mark.parametrize(
    ("options", "overflow"),
    [
        ({}, None),  # as the stream says
        ({"disableBufferFullDiscard": True}, "block"),
        ({"disableBufferFullDiscard": False}, "dropOldest"),
        ({"disableBufferFullDiscard": "false"}, "dropOldest"),
        ({"disableBufferFullDiscard": False, "overflow": "dropNewest"}, "dropNewest"),
    ],
)
def test_ekuipers_switch_for_full_buffers_is_an_overflow_policy(
    options: dict[str, object], overflow: str | None
) -> None:
    assert options_from(options).overflow == overflow


def test_ekuipers_ways_to_say_default_are_defaults() -> None:
    given = {"checkpointInterval": 0, "duration": "", "cronDatetimeRange": None, "debug": None}

    assert options_from(given) == RuleOptions()
    assert options_from({"checkpointInterval": -1}) == RuleOptions()
    assert options_from(None) == RuleOptions()


def test_options_of_the_rule_win_over_defaults() -> None:
    options = options_from({"qos": 2}, defaults={"qos": 1, "sendError": True})

    assert (options.qos, options.send_error) == (2, True)


def test_each_sink_of_a_list_item_is_an_action_of_its_own() -> None:
    found = rule(
        "id: hot\nsql: SELECT 1\nactions:\n- log:\n  mqtt: {topic: t}\n- mqtt: {topic: u}\n"
    )

    assert [(a.name, a.type, a.properties) for a in found.actions] == [
        ("log_0", "log", {}),
        ("mqtt_0", "mqtt", {"topic": "t"}),
        ("mqtt_1", "mqtt", {"topic": "u"}),
    ]
    assert [str(action.at) for action in found.actions] == [
        "r.yaml:4:3",
        "r.yaml:5:3",
        "r.yaml:6:3",
    ]
    assert str(found.actions[2].where.of("topic")) == "r.yaml:6:17"


@pytest.mark.parametrize(
    ("sql", "at"),
    [
        ("SELECT 1", "r.yaml:2:6"),
        ("'SELECT 1'", "r.yaml:2:7"),
        ('"SELECT 1"', "r.yaml:2:7"),
        ("|\n   SELECT 1", "r.yaml:3:4"),
        (">-\n  SELECT\n  1", "r.yaml:3:3"),
        ("\n  SELECT 1", "r.yaml:3:3"),
    ],
)
def test_the_place_of_the_sql_is_its_first_character(sql: str, at: str) -> None:
    found = rule(f"id: hot\nsql: {sql}\nactions: [{{log: {{}}}}]\n")

    assert str(found.sql_at) == at


def test_two_rules_are_equal_if_they_say_the_same_elsewhere() -> None:
    assert rule(RULE) == rule(f"# moved\n\n{RULE}")
    assert rule(RULE) != rule(RULE.replace("1", "2"))
    assert rule(RULE) != "hot"


def test_the_representation_holds_no_secrets() -> None:
    found = rule("id: hot\nsql: x\nactions: [{mqtt: {password: hunter2}}]\n")

    assert repr(found) == "<RuleDef hot at r.yaml:1:5>"
    assert "hunter2" not in repr(found.actions)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{RULE}options: {{qos: abc}}", "4:16: options.qos: expected a whole number, found text"),
        (f"{RULE}options:\n  topicc: 1", "5:3: unknown key 'topicc' in options"),
        (
            f"{RULE}options:\n  concurency: 1",
            "5:3: unknown key 'concurency' in options; did you mean 'concurrency'?",
        ),
        (
            f"{RULE}options: {{concurrency: -1}}",
            "4:24: options.concurrency: expected a whole number of at least 0, found the number -1",
        ),
        (f"{RULE}options: {{bufferLength: -1}}", "4:25: options.bufferLength: expected a whole"),
        (f"{RULE}options: {{bufferLength: {'9' * 50}}}", "4:25: options.bufferLength: expected a"),
        (f"{RULE}options: {{lateTolerance: -1}}", "4:26: options.lateTolerance: -1 is negative"),
        (
            f"{RULE}options: {{restartStrategy: {{attempts: -1}}}}",
            "4:39: options.restartStrategy.attempts: expected a whole number of at least 0",
        ),
        (
            f"{RULE}options: {{restartStrategy: {{atempts: 1}}}}",
            "4:29: unknown key 'atempts' in options.restartStrategy; did you mean 'attempts'?",
        ),
        (f"{RULE}options: {{overflow: dropoldest}}", "4:21: options.overflow: expected one of"),
        (f"{RULE}options: []", "4:10: options: expected a mapping of options, found a list"),
        (
            f"{RULE}options: {{cronDatetimeRange: [{{begin: x, end: y}}]}}",
            "4:39: options.cronDatetimeRange[0].begin: expected a time such as '2026-01-31",
        ),
        (
            f"{RULE}options: {{cronDatetimeRange: [{{begin: x}}]}}",
            "4:31: options.cronDatetimeRange[0]: expected begin and end, or beginTimestamp",
        ),
        (f"{RULE}tags: x", "4:7: rule hot.tags: expected a list, found text 'x'"),
        (f"{RULE}version: 1", "4:10: rule hot.version: expected text, found the number 1"),
        (f"{RULE}triggerd: true", "4:1: unknown key 'triggerd' in the rule; did you mean"),
        ("id: a b\nsql: x\nactions: [{log: {}}]", "1:5: 'a b' can't be the id of a rule\n  hint"),
        ("sql: x", "1:1: the rule has no id"),
        ("id: a\nactions: [{log: {}}]", "1:5: rule a has no sql"),
        ("id: a\nsql: ''\nactions: [{log: {}}]", "2:6: rule a has no sql"),
        ("id: a\nsql: x", "1:5: rule a has no actions\n  hint: add 'actions'"),
        ("id: a\nsql: x\nactions: []", "3:10: rule a has no actions"),
        ("id: a\nsql: x\nactions: {log: {}}", "3:10: rule a.actions: expected a list of sinks"),
        ("id: a\nsql: x\nactions: [log]", "3:11: rule a.actions[0]: expected a sink and its"),
        ("id: a\nsql: x\nactions: [{}]", "3:11: rule a.actions[0]: expected a sink and its"),
        ("id: a\nsql: x\nactions: [{log: 5}]", "3:17: rule a.actions[0].log: expected a mapping"),
        ("id: a\nsql: x\ngraph: {}", "3:1: rule a: graph rules are not supported yet; write sql"),
    ],
)
def test_a_mistake_in_a_rule_is_told_with_its_place(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_text(text, file="r.yaml")

    assert str(caught.value).startswith(f"r.yaml:{message}")


def test_a_rule_from_plain_values_needs_no_file() -> None:
    found = rule_from({"id": "a", "sql": "SELECT 1", "actions": [{"log": None}]})

    assert (found.id, found.at, found.sql_at) == ("a", None, None)
