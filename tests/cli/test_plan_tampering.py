"""A plan's file that somebody has changed: it says neither where new keys come from nor where they go."""

from __future__ import annotations

import json
from pathlib import Path

from cli.rotation_stage import RotationStage
from living_authority import LivingAuthority

APPLY = ("--auto-approve", "--allow-delete")


def planned(authority: LivingAuthority, home: Path, *users: str) -> tuple[RotationStage, Path]:
    """A stage, and the file of a plan for the first of its users."""
    stage = RotationStage(home / "operator", authority)
    for user in users:
        stage.new_user(user)
    stage.write(*users)
    plan = home / "plan.json"
    stage.keyturn("plan", users[0], "-o", str(plan))
    return stage, plan


def test_a_plan_with_the_sink_of_another_user_begins_nothing(
    shared_authority: LivingAuthority, tmp_path: Path
) -> None:
    stage, plan = planned(shared_authority, tmp_path, "mine", "theirs")
    content = json.loads(plan.read_text())
    content["entries"][0]["sinks"][0]["name"] = "theirs"
    plan.write_text(json.dumps(content))
    before = stage.held("theirs")
    told = stage.keyturn("apply", str(plan), *APPLY)
    assert told.code == 1
    assert "the sinks of mine are mine" in told.stderr
    assert stage.held("theirs") == before
    assert stage.rotations() == []


def test_a_plan_for_another_endpoint_than_the_one_named_is_refused_unasked(
    shared_authority: LivingAuthority, tmp_path: Path
) -> None:
    stage, plan = planned(shared_authority, tmp_path, "swapped")
    content = json.loads(plan.read_text())
    content["endpoint"] = "http://127.0.0.1:9"
    plan.write_text(json.dumps(content))
    told = stage.keyturn("apply", str(plan), *APPLY, "--endpoint-url", shared_authority.url)
    assert told.code == 1
    assert "the plan was made with --endpoint-url http://127.0.0.1:9" in told.stderr
    assert stage.rotations() == []


def test_a_plan_goes_on_with_the_endpoint_that_it_was_made_for_named_again(
    shared_authority: LivingAuthority, tmp_path: Path
) -> None:
    stage, plan = planned(shared_authority, tmp_path, "named")
    told = stage.keyturn("apply", str(plan), *APPLY, "--endpoint-url", shared_authority.url + "/")
    assert told.code in {0, 3}, told.stderr
    assert len(stage.rotations()) == 1
