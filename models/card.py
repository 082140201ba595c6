"""The model card of a bundle, written from its manifest."""

from collections.abc import Mapping
from typing import Any

from models.spec import Manifest

DEFAULT = ("default", "lite0")  # name and tower: `pixassay model export` calls any bundle `default`
DEFAULT_WARNING = (
    "**A demonstration, not a reliable detector.** The default bundle is a small network trained in "
    "minutes on a few thousand pictures. It is not reliable on generators that it has not seen, and "
    "today's text-to-image models are such. Do not act on its verdicts about real people's pictures. "
    "What makes the service reliable is a bundle trained on a large pretrained tower with data of your own."
)
IMPORTED_WARNING = (
    "**Detectors of other people.** Their weights were imported as they are; what they were trained and "
    "measured on is for their authors to say. Until `pixassay model calibrate` ran on pictures like yours, "
    "the score is a raw logit pressed into 0..1, and its thresholds are placeholders."
)
EDITS = (
    "It judges whole pictures: small edits, inpainting and face swaps inside a real photograph are missed."
)
TRACES = "Strong recompression and shrinking wash out the traces that it looks for."
PHOTOGRAPHS = "Real photographs unlike those below may be flagged more often than the rates say."
# What it meets and was not trained on: generators, kinds of pictures.
DEFAULT_UNKNOWN = (
    (
        "It does not know generators that it has not seen, today's text-to-image models among them: "
        "at these thresholds nearly all of their pictures pass as authentic."
    ),
    "Drawings, renders, screenshots and documents were not trained on: their scores mean nothing.",
)
UNKNOWN = (
    "Generators that it was not trained on may pass as authentic; how many do is for you to measure.",
    "Drawings, renders, screenshots and documents mean nothing to it unless it was trained on them.",
)


def render_card(manifest: Manifest) -> str:
    """Markdown."""
    imported = manifest.training.get("imported", {})
    alone = set(imported) == {detector.name for detector in manifest.detectors}
    parts = [
        f"# {manifest.name}",
        IMPORTED_WARNING if alone else _warning(manifest),
        "## What it is",
        _what(manifest, alone),
        *(() if alone else ("## Trained on", _trained(manifest))),
        *(imported_section(name, facts) for name, facts in imported.items()),
    ]
    parts += ["## Measured", _measured(manifest), "## Thresholds", _policy(manifest), "## Not for"]
    parts += [_limits(manifest, alone), "## Licences", _licences(manifest)]
    return "\n\n".join(parts) + "\n"


def imported_section(name: str, facts: Mapping[str, Any]) -> str:
    """Where an imported detector came from, with what its manifest entry says in single words."""
    lines = [f"## Imported: {name}", "", "| fact | value |", "| --- | --- |"]
    told = {fact: value for fact, value in facts.items() if not isinstance(value, Mapping)}
    recipe = facts.get("training", {}).get("recipe")
    if recipe:
        told["recipe"] = recipe["name"]
    return "\n".join([*lines, *(f"| {fact} | {value} |" for fact, value in told.items())])


def _warning(manifest: Manifest) -> str:
    if _is_default(manifest):
        return DEFAULT_WARNING
    return (
        f"**As good as its figures below, and no better.** {_learnt(manifest)} It may miss generators that "
        "it has not seen, and call photographs of other sources synthetic. Measure it on pictures like "
        "yours before you act on its verdicts."
    )


def _is_default(manifest: Manifest) -> bool:
    return (manifest.name, manifest.tower) == DEFAULT


def _learnt(manifest: Manifest) -> str:
    pictures = manifest.training.get("pictures", {})
    if not pictures:
        return f"The manifest of `{manifest.name}` does not say what it was trained on."
    sources = sum(name.startswith("real:") for name in pictures)
    return (
        f"`{manifest.name}` was trained on {sum(pictures.values())} pictures (real sources: {sources}, "
        f"generators: {len(pictures) - sources})."
    )


def _limits(manifest: Manifest, alone: bool) -> str:
    generators, kinds = DEFAULT_UNKNOWN if _is_default(manifest) else UNKNOWN
    limits = [*(() if alone else (generators,)), EDITS, kinds, TRACES, PHOTOGRAPHS]
    return "\n".join(f"- {limit}" for limit in limits)


def _what(manifest: Manifest, alone: bool) -> str:
    ours = f"Detectors on the tower `{manifest.tower}` in one graph; blocks before the adapters are shared."
    lines = [
        "Imported detectors in one graph, each a network of its own." if alone else ours,
        "",
        "| detector | view | weight in the score |",
        "| --- | --- | --- |",
    ]
    lines += [f"| {one.name} | {one.view} | {one.weight:.2f} |" for one in manifest.detectors]
    if manifest.quantisation is not None:
        before, after = manifest.quantisation.score_auc
        lines += [
            "",
            (
                f"Its products are {manifest.quantisation.precision}, made of bundle "
                f"{manifest.quantisation.source}. AUC of the score on {manifest.quantisation.pictures} "
                f"pictures: {before:.3f} before, {after:.3f} after."
            ),
        ]
    if any(one.weight == 0 for one in manifest.detectors):
        lines += [
            "",
            "A weight of 0: the logit is stored with every verdict, and the score does not hang on it.",
        ]
    return "\n".join(lines)


def _trained(manifest: Manifest) -> str:
    pictures = manifest.training.get("pictures", {})
    lines = ["| pictures | number |", "| --- | --- |"]
    lines += [f"| {name} | {number} |" for name, number in pictures.items()]
    held = ", ".join(manifest.training.get("held_out", [])) or "nothing"
    return "\n".join([*lines, "", f"Left out of training altogether: {held}."])


def _measured(manifest: Manifest) -> str:
    """Tables that `pixassay model calibrate` measured on pictures that were not trained on."""
    metrics = manifest.metrics
    if not metrics:
        return "Nothing yet: run `pixassay model calibrate`."
    lines = [metrics["pictures"], "", "| figure | value |", "| --- | --- |"]
    lines += [f"| {name} | {value:.3f} |" for name, value in metrics["summary"].items()]
    lines += [
        "",
        "| generator | AUC | AUC against own reals | AUC of file facts | found |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, row in metrics["generators"].items():
        figures = (row["auc"], row["auc_own"], row["facts_auc"], row["found"])
        lines.append(f"| {name} | {' | '.join(_figure(figure) for figure in figures)} |")
    lines += ["", "| real source | called synthetic |", "| --- | --- |"]
    lines += [f"| {name} | {rate:.3f} |" for name, rate in metrics["sources"].items()]
    return "\n".join(lines)


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _policy(manifest: Manifest) -> str:
    policy = manifest.policy
    return (
        f"`suspicious` from {policy.suspicious:.3f}, `synthetic` from {policy.synthetic:.3f} (policy "
        f"`{policy.id}`). Set on: {policy.basis}."
    )


def _licences(manifest: Manifest) -> str:
    return "\n".join(f"- {name}: {licence}" for name, licence in manifest.licences.items()) or "- none stated"
