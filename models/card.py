"""The model card of a bundle, written from its manifest."""

from models.spec import Manifest

WARNING = (
    "**A demonstration, not a reliable detector.** The default bundle is a small network trained in "
    "minutes on a few thousand pictures. It is not reliable on generators that it has not seen, and "
    "today's text-to-image models are such. Do not act on its verdicts about real people's pictures. "
    "What makes the service reliable is a bundle trained on a large pretrained tower with data of your own."
)
LIMITS = (
    (
        "It does not know generators that it has not seen, today's text-to-image models among them: "
        "at these thresholds nearly all of their pictures pass as authentic."
    ),
    "It judges whole pictures: small edits, inpainting and face swaps inside a real photograph are missed.",
    "Drawings, renders, screenshots and documents were not trained on: their scores mean nothing.",
    "Strong recompression and shrinking wash out the traces that it looks for.",
    "Real photographs unlike those below may be flagged more often than the rates say.",
)


def render_card(manifest: Manifest) -> str:
    """Markdown."""
    parts = [
        f"# {manifest.name}",
        WARNING,
        "## What it is",
        _what(manifest),
        "## Trained on",
        _trained(manifest),
    ]
    parts += ["## Measured", _measured(manifest), "## Thresholds", _policy(manifest), "## Not for"]
    parts += ["\n".join(f"- {limit}" for limit in LIMITS), "## Licences", _licences(manifest)]
    return "\n\n".join(parts) + "\n"


def _what(manifest: Manifest) -> str:
    lines = [
        f"Detectors on the tower `{manifest.tower}` in one graph; blocks before the adapters are shared.",
        "",
        "| detector | view | weight in the score |",
        "| --- | --- | --- |",
    ]
    lines += [f"| {one.name} | {one.view} | {one.weight:.2f} |" for one in manifest.detectors]
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
