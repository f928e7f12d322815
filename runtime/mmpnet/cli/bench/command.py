"""mmp-bench: time a model, compare two, show the time of each layer, and search within a time budget."""

from pathlib import Path
from typing import Annotated, Any

import typer

from mmpnet.cli.bench.options import (
    TOO_SLOW,
    FrameSize,
    ImageFile,
    Json,
    ProviderChoice,
    Threads,
    frame_hw_of,
    write_json,
)
from mmpnet.cli.bench.search import search_command
from mmpnet.console.command import HELP_NAMES, console, exit_on_error, explain_imports, results, show_version
from mmpnet.console.help import Example, HelpfulGroup, helpful
from mmpnet.runtime.inference.embedded import DEFAULT_MODEL, OTHER_NAMES, model_path
from mmpnet.system.files import check_output
from mmpnet.system.optional_packages import require_packages

PLOT_SUFFIXES = (".png", ".svg", ".pdf")
PEAK_S = 0.3


class DefaultToRun(HelpfulGroup):
    """Sends arguments that do not start with a subcommand to `run`: mmp-bench MODEL is mmp-bench run MODEL."""

    examples = (
        Example("mmp-bench person-320-int8", "time one model: cold start, back to back, and at a camera's rate"),
        Example("mmp-bench compare person-320 person-320-int8", "is the second one faster here?"),
        Example("mmp-bench search best.pth --target-ms 10 --data DATA", "the most accurate setting within 10 ms"),
    )

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args or args[0] not in (*self.commands, *HELP_NAMES["help_option_names"]):
            args = ["run", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=DefaultToRun,
    help="Measure how fast a model is on this machine. mmp-bench MODEL is short for mmp-bench run MODEL; "
    "mmp-bench run --help lists its options. The default MODEL is person-320.",
    context_settings=HELP_NAMES,
    pretty_exceptions_enable=False,
)

MODEL_HELP = f"An ONNX file from mmp-export, or a model of this package: {OTHER_NAMES}; default: {DEFAULT_MODEL}."
RUN_EXAMPLES = (
    ("mmp-bench", "time the default model"),
    ("mmp-bench person.onnx --threads 2", "time your own file on two threads"),
    ("mmp-bench person.onnx --json > monday.json", "keep the report for a later mmp-bench compare"),
)
COMPARE_EXAMPLES = (
    ("mmp-bench compare person-320 person-320-int8", "time two models in turns"),
    ("mmp-bench compare old.onnx new.onnx --at-least 1", "exit with code 3 if the new one may be slower"),
    ("mmp-bench compare monday.json tuesday.json", "compare two stored reports of one machine"),
)
LAYERS_EXAMPLES = (
    ("mmp-bench layers person-320-int8", "time by module"),
    ("mmp-bench layers person-320-int8 --plot roofline.png", "also draw a roofline plot"),
    ("mmp-bench layers person-320-int8 --json", "all rows, for another program"),
)
SEARCH_EXAMPLES = (
    ("mmp-bench search best.pth --target-ms 10 --data DATA", "export several sizes, and find the best within 10 ms"),
    ("mmp-bench search a.onnx b.onnx --target-ms 10 --data DATA", "choose among exported files, without torch"),
    ("mmp-bench search best.pth --target-ms 10 --data DATA --limit 200", "measure on 200 images only"),
)
SIDE_HELP = "MODEL, MODEL@threads=2,provider=cuda, or a file that mmp-bench MODEL --json wrote."


@app.command(cls=helpful("--provider", "--threads", "--duration", "--rate", "--json", examples=RUN_EXAMPLES))
def run(
    model: Annotated[str | None, typer.Argument(help=MODEL_HELP)] = None,
    provider: ProviderChoice = "auto",
    threads: Threads = 1,
    duration: Annotated[float, typer.Option(min=0.01, max=3600, help="Length of each repeat in seconds.")] = 3.0,
    repeats: Annotated[
        int, typer.Option(min=1, max=1000, help="Number of repeats; the median of their medians is reported.")
    ] = 5,
    rate: Annotated[float, typer.Option(min=0.1, max=1000, help="Frame rate of the simulated camera.")] = 15.0,
    warm_up: Annotated[float, typer.Option(min=0, max=3600, help="Seconds of warm-up, which is not timed.")] = 1.0,
    cold_starts: Annotated[
        int, typer.Option(min=0, max=100, help="Number of fresh processes to time; 0 skips this.")
    ] = 3,
    frame_size: FrameSize = None,
    image: ImageFile = None,
    as_json: Json = False,
    _version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Time a model from raw BGR frame to final boxes: cold start, back to back, and at a camera's frame rate."""
    with exit_on_error():
        frame_hw = frame_hw_of(frame_size)
        with explain_imports(extra="cpu"):
            from mmpnet.bench.latency import LatencyPlan, measure_latency, sample_frame
            from mmpnet.cli.bench.tables import noise_line, show_report
        frame_bgr = sample_frame(image, frame_hw)
        plan = LatencyPlan(
            model=model,
            provider=provider,
            threads=threads,
            duration_s=duration,
            repeats=repeats,
            rate_fps=rate,
            warm_up_s=warm_up,
            cold_starts=cold_starts,
        )
        with console().status("measuring"):
            report = measure_latency(plan, frame_bgr, image=image)
        if as_json:
            write_json(report)
        else:
            show_report(results(), report)
        noise = noise_line(report)
        if noise is not None:
            console().print(noise)


@app.command(
    "compare", cls=helpful("--pairs", "--at-least", "--threads", "--infer-only", "--json", examples=COMPARE_EXAMPLES)
)
def compare_command(
    a: Annotated[str, typer.Argument(help=SIDE_HELP)],
    b: Annotated[str, typer.Argument(help="The second side, in the same form as A.")],
    pairs: Annotated[int, typer.Option(min=10, max=100_000, help="Number of runs per model, interleaved.")] = 200,
    infer_only: Annotated[bool, typer.Option("--infer-only", help="Compare the model alone, not end to end.")] = False,
    margin: Annotated[float, typer.Option(min=0, max=10, help="Fraction up to which differences are ignored.")] = 0.02,
    at_least: Annotated[
        float | None, typer.Option(min=0, help=f"Exit with {TOO_SLOW} if the interval of A / B starts below this.")
    ] = None,
    provider: ProviderChoice = "auto",
    threads: Threads = 1,
    frame_size: FrameSize = None,
    image: ImageFile = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed for the run order and the bootstrap.")] = 0,
    force: Annotated[
        bool, typer.Option("--force", help="Also compare reports of different machines or frame sizes.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Compare two models: the ratio of time A to time B, its 95 % interval from a block bootstrap, and a verdict."""
    with exit_on_error():
        stored = [Path(text).suffix.lower() == ".json" for text in (a, b)]
        if any(stored) and not all(stored):
            raise typer.BadParameter("got a stored report and a model; give two models or two stored reports")
        frame_hw = frame_hw_of(frame_size)
        with explain_imports(extra="cpu"):
            from mmpnet.bench.compare import ComparisonRules, compare_models, parse_side
            from mmpnet.bench.latency import sample_frame
            from mmpnet.bench.stored_reports import compare_stored
            from mmpnet.cli.bench.tables import show_comparison
        rules = ComparisonRules(pairs=pairs, measured="infer" if infer_only else "end_to_end", margin=margin, seed=seed)
        if all(stored):
            comparison = compare_stored(Path(a), Path(b), rules, force=force)
        else:
            try:
                first, second = (parse_side(text, provider=provider, threads=threads) for text in (a, b))
            except ValueError as error:
                raise typer.BadParameter(str(error)) from error
            frame_bgr = sample_frame(image, frame_hw)
            with console().status("comparing"):
                comparison = compare_models(first, second, frame_bgr, rules)
        if as_json:
            write_json(comparison)
        else:
            show_comparison(results(), comparison)
    if at_least is not None and comparison.interval[0] < at_least:
        console().print(f"A / B may be as low as {comparison.interval[0]:.3f}, below --at-least {at_least:g}")
        raise typer.Exit(TOO_SLOW)


@app.command(cls=helpful("--top", "--runs", "--plot", "--json", examples=LAYERS_EXAMPLES))
def layers(
    model: Annotated[str | None, typer.Argument(help=MODEL_HELP)] = None,
    runs: Annotated[int, typer.Option(min=1, max=10_000, help="Number of timed runs; the median is reported.")] = 50,
    top: Annotated[int, typer.Option(min=1, help="Number of rows in the table; --json has all rows.")] = 25,
    plot: Annotated[Path | None, typer.Option(help="Write the roofline plot to this .png, .svg or .pdf file.")] = None,
    as_json: Json = False,
) -> None:
    """Show a model's time per module on one CPU thread, and the fraction of the machine's peak that each reaches."""
    with exit_on_error():
        if plot is not None:
            check_output(plot, PLOT_SUFFIXES)
            require_packages("matplotlib", wanted_for="--plot")
        with explain_imports(extra="cpu"):
            from mmpnet.bench.layers.report import layers_report
            from mmpnet.cli.bench.tables import show_layers
        with console().status("measuring"):
            report = layers_report(model_path(model), runs=runs, peak_s=PEAK_S, with_memory=plot is not None)
        if as_json:
            write_json(report)
        else:
            show_layers(results(), report, top=top)
        if plot is not None:
            from mmpnet.bench.layers.roofline import draw_roofline

            draw_roofline(report, plot)
            console().print(f"saved {plot}")


app.command(
    "search",
    cls=helpful("--target-ms", "--data", "--imgsz", "--threads", "--out", examples=SEARCH_EXAMPLES),
)(search_command)


def main() -> None:
    """Entry point of mmp-bench."""
    app()
