"""The measured parts of docs/benchmarks.md, each written between two markers, and the plot of the first."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from stream.bench.contestants import LANE, LIMIT, NAIVE
from stream.bench.random_vit import RandomVit
from stream.errors import PixassayError

BEGIN, END = "<!-- bench: written by `pixassay bench --page` -->", "<!-- bench: end -->"
PLOT = "benchmarks.svg"
NAMES = {
    NAIVE: "the loop that people write",
    LANE: "the whole lane",
    LIMIT: "limit L: decode, views, engine",
}
STYLE: Any = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "pixassay",
    "svg.fonttype": "path",
}
Report = dict[str, Any]


def write_page(page: Path, report: Report) -> None:
    """Replace what stands between the markers, and the plot. Raises PixassayError without markers."""
    written = _filled(page, (BEGIN, END), f"{render(report)}\n\n![Images per second]({PLOT})")
    _draw(report).savefig(page.with_name(PLOT), format="svg", metadata={"Date": None}, bbox_inches="tight")
    page.write_text(written, encoding="utf-8")


def write_random(page: Path, ensemble: RandomVit, report: Report) -> None:
    """The same for the table of an ensemble of random weights, which has markers of its own and no plot."""
    page.write_text(_filled(page, random_markers(ensemble), render(report)), encoding="utf-8")


def random_markers(ensemble: RandomVit) -> tuple[str, str]:
    """Between which its table goes."""
    command = f"pixassay bench --ensemble {ensemble} --page"
    return f"<!-- bench {ensemble}: written by `{command}` -->", f"<!-- bench {ensemble}: end -->"


def _filled(page: Path, markers: tuple[str, str], part: str) -> str:
    """The page's text with `part` between the markers. Raises PixassayError without them."""
    before, begin, rest = page.read_text(encoding="utf-8").partition(markers[0])
    _, end, after = rest.partition(markers[1])
    if not begin or not end:
        raise PixassayError(f"{page} lacks the lines {' and '.join(markers)} between which the table goes")
    return f"{before}{begin}\n\n{part}\n\n{end}{after}"


def render(report: Report) -> str:
    """The table, from the figures alone."""
    where = f"{report['machine']}, {report['date'][:10]}, bundle `{report['bundle']}`, "
    where += f"{report['rounds']} rounds in turn, medians; {report['seconds']} seconds in all."
    where += f" The CPU engine ran with {report['cpu_engine']}, as it had measured here to be best"
    where += f", in {report['precision']}." if "precision" in report else "."
    rows = [("measured", "figure"), ("---", "---"), *_rows(report)]
    table = "\n".join(f"| {what} | {figure} |" for what, figure in rows)
    return f"{where}\n\n{table}"


def _rows(report: Report) -> Iterator[tuple[str, str]]:
    rates, spent = report["images_per_s"], report["cpu_ms_per_image"]
    for name, title in NAMES.items():
        if name in rates:
            yield f"{title}, images/s", f"{rates[name]} ({spent[name]} CPU ms an image)"
    yield "broker, object store and database beside the lane", f"{report['servers_cpu_ms_per_image']} CPU ms"
    yield "lane over limit, by the clock", f"**{report['lane_over_limit']}**"
    yield "lane over limit, by CPU time, servers counted", f"{report['lane_over_limit_by_cpu']}"
    yield "lane over the loop that people write", f"**{report['lane_over_naive']}**"
    products = f"{report['network_gflop_per_image']} GFLOP, {report['matrix_gflops_per_core']} GFLOP/s"
    yield "the network's products for an image, matrix products of a core (float32)", products
    latency = report["latency_ms_at_half_load"]
    yield "from announcement to decision at half load", ", ".join(f"{p} {ms} ms" for p, ms in latency.items())
    if memory := report["worker_memory_mb"]:
        figures = f"{memory['before']} MiB, {memory['with_backlog']} MiB"
        yield "memory of a worker: idle, with 100,000 uploads before it", figures
    yield from _engine_rows(report)
    yield from _prefix_rows(report)
    yield "decode and views, images a core second, demo pictures", f"{report['decode_images_per_core']}"
    for kind, rate in report.get("decode_images_per_core_by_kind", {}).items():
        yield f"the same, {kind}", f"{rate}"


def _engine_rows(report: Report) -> Iterator[tuple[str, str]]:
    found = report.get("engines")
    if not isinstance(found, dict):
        return
    for name, rates in found["images_per_cpu_s"].items():
        gains = found["over_torch"][name]
        figures = ", ".join(f"{size}: {rate} ({gains[size]} times torch)" for size, rate in rates.items())
        yield f"{name}: the bundle's network, images per CPU second by batch", figures


def _prefix_rows(report: Report) -> Iterator[tuple[str, str]]:
    found = report.get("shared_prefix")
    if not found:
        return
    network = f"{found['network']}, {found['precision']}, batch {found['batch']}"
    for shared, gain in found["gain"].items():
        bound = found["arithmetic_gain"][shared]
        yield f"gain of {shared} shared blocks ({network})", f"{gain} of {bound} by arithmetic"
    yield "share of the arithmetic gain, the lowest", f"**{report['shared_prefix_share']}**"
    yield "OpenVINO over torch fp32, same network, one thread", f"**{report['openvino_over_torch']}**"
    yield "cosine of their logits", f"{found['cosine_of_logits']}"
    rates = ", ".join(f"{name} {rate}" for name, rate in found["images_per_cpu_s"].items())
    yield "images per CPU second behind them", rates


def _draw(report: Report) -> Figure:
    rates = {
        title: report["images_per_s"][name] for name, title in NAMES.items() if name in report["images_per_s"]
    }
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7, 1.8))
        axes = figure.subplots()
        bars = axes.barh(
            list(rates), list(rates.values()), color=["#8a9199", "#1f5fa8", "#d7dadd"][-len(rates) :]
        )
        axes.bar_label(bars, padding=4)
        axes.set_xlabel(f"images/s, {report['machine']}")
        return figure
