"""A round's certificate as people read it."""

from collections.abc import Iterator, Mapping

from rich.console import RenderableType
from rich.table import Table

from api_schemas.certificates import AuditedGains, Certificate, RoundDigests
from client.names import named, world_name
from client.outcome_tables import certificate_lines, figure, figure_table, holdout_line


def certificate_parts(found: Certificate, names: Mapping[str, str]) -> Iterator[RenderableType]:
    """The promise in words, what was measured of each world and group, audits, digests."""
    yield from certificate_lines(found.certificate)
    if found.worlds:
        yield _world_table(found, names)
    if found.holdout is not None:
        yield holdout_line(found.holdout, found.regularizer)
    if any(group.reward_error is not None for group in found.groups):
        yield _group_table(found, names)
    yield _audited(found.audited)
    yield _digest_table(found.digests)
    for warning in found.warnings:
        yield f"warning: {named(warning, names)}"


def _world_table(found: Certificate, names: Mapping[str, str]) -> Table:
    """ESS: effective samples of the pool, the mean and the smallest over the prompts."""
    numbers = ["gap", "ESS", "min", "low support", "support ratio"]
    table = figure_table("worlds on the pool", ["world"], numbers)
    for world in found.worlds:
        table.add_row(
            world_name(world.world, names),
            figure(world.optimality_gap),
            f"{world.effective_samples_mean:.1f}",
            f"{world.effective_samples_minimum:.1f}",
            str(world.low_support_prompts),
            f"{world.support_ratio:.3f}",
        )
    return table


def _group_table(found: Certificate, names: Mapping[str, str]) -> Table:
    table = figure_table("rewards beyond the pool", ["group"], ["size", "ε", "2·size·ε"])
    for group in found.groups:
        table.add_row(
            names.get(group.group_id, group.group_id),
            str(group.size),
            figure(group.reward_error),
            figure(group.reward_error_bound),
        )
    return table


def _audited(gains: AuditedGains | None) -> str:
    if gains is None:
        return "no audit has finished"
    if gains.largest_gain is None:
        return f"{gains.audits} audits, in which no misreport could be replayed"
    text = f"{gains.audits} audits: the largest gain of a misreport is {gains.largest_gain:.6g}"
    if gains.largest_gain_without_payments is not None:
        text += f", without payments {gains.largest_gain_without_payments:.6g}"
    if gains.largest_gain_retrained is not None:
        text += f", of whole trainings {gains.largest_gain_retrained:.6g}"
    return text


def _digest_table(digests: RoundDigests) -> Table:
    """What a group may not see is left out."""
    table = figure_table("digests", ["of"], [])
    table.add_column("digest", overflow="fold")
    for name, value in digests.model_dump(mode="json", exclude={"stages"}).items():
        if value is not None:
            table.add_row(name, value)
    for stage, digest in (digests.stages or {}).items():
        table.add_row(f"stage {stage}", digest)
    return table
