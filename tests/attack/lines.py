"""Draw hostile command lines: verbs with files, options and outputs that nobody meant."""

from __future__ import annotations

from random import Random

from folder import CONTROL, HOSTILE, LATIN, LONGEST, MASKS, SOUND

Line = list[str]

NUMBERS = ("0", "-1", "1", "3", "1e9", "1e400", "nan", "inf", "-inf", "0.5", "x", "", "9" * 40)
OUTPUTS = (
    "new.png", "new.tif", "new/dir/o.png", "out", "a.png", "./a.png", "in", ".", "m.png", "o.jpg",
    "o.bmp", "o", "shut/o.png", "none/../o.png", "a.png/o.png", "n" * 300 + ".png", LONGEST,
    LATIN, CONTROL, "folder.png", "fifo.png", "zero.png", "dangling.png", "loop.png", "/o.png/",
    "/proc/o.png", "/dev/full", "/dev/null", "", "-o", "b.mask.png", "...png", "in/x.ledger.json",
)  # fmt: skip
REGIONS = ("0,0,64,64", "8,8,64,64", "0,0,0,0", "-1,0,64,64", "1,2,3", "a,b,c,d", "0,0,9e9,9",
           "0,0,99999999999999999999,64", "0,0,96,80", "")  # fmt: skip
MODELS = ("nested", "list", "empty", "steps", "channels", "sha", "arch", "nan", "fifo", "weights",
          "pipe", "none")  # fmt: skip
LEDGERS = ("fifo.json", "zero.json", "bad.json", "a.png", "none.json", "in", "shut",
           "m.geojson")  # fmt: skip
DATA = ("plain", "bom", "utf16", "latin", "wide", "without", "gone", "out", "fifo", "link", "text",
        "none")  # fmt: skip


def _image(draw: Random) -> str:
    kind = draw.random()
    if kind < 0.55:
        return draw.choice(SOUND)
    if kind < 0.78:
        return draw.choice(HOSTILE)
    if kind < 0.85:
        return draw.choice(("in", "data/plain", "models", "/dev/null", "/etc/passwd"))
    return f"mutant{draw.randrange(40)}"  # completed by the one that knows the folder


def _inputs(draw: Random) -> Line:
    return [_image(draw) for _ in range(draw.choice((1, 1, 1, 2)))]


def _maybe(draw: Random, share: float, *words: str) -> Line:
    return list(words) if draw.random() < share else []


def _out(draw: Random) -> Line:
    plain = draw.random() < 0.6
    return ["-o", draw.choice(OUTPUTS[:4]) if plain else draw.choice(OUTPUTS)]


def _common(draw: Random) -> Line:
    return [
        *_maybe(draw, 0.4, "--force"),
        *_maybe(draw, 0.2, "--json"),
        *_maybe(draw, 0.15, "--mpp", draw.choice(NUMBERS)),
        *_maybe(draw, 0.15, "--seed", draw.choice(NUMBERS)),
        *_maybe(draw, 0.2, "--region", draw.choice(REGIONS)),
    ]


def _model(draw: Random) -> Line:
    return _maybe(draw, 0.2, "--model", f"models/{draw.choice(MODELS)}")


def _sampled(draw: Random) -> Line:
    return [
        *_model(draw),
        *_maybe(draw, 0.1, "--steps", draw.choice(NUMBERS)),
        *_maybe(draw, 0.1, "--batch", draw.choice(NUMBERS)),
        *_maybe(draw, 0.05, "--device", draw.choice(("cuda", "cpu", "mps", "x", "cuda:9"))),
        *_maybe(draw, 0.2, "--lossy"),
        *_maybe(draw, 0.1, "--dry-run"),
        *_maybe(draw, 0.05, "--preset", draw.choice(("fast", "paper", "none"))),
    ]


def _restore(draw: Random) -> Line:
    shares = draw.choice(("1", *NUMBERS))
    masks = [["--mask", draw.choice(MASKS)], ["--mask", draw.choice((*LEDGERS, "in"))]]
    where = draw.choice((*masks, ["--detect", "--max-share", shares], []))
    return [
        "restore", *_inputs(draw), *where, *_out(draw), *_common(draw), "--steps", "1",
        *_sampled(draw), *_maybe(draw, 0.1, "--trace", draw.choice(("t", "in", "a.png", "shut"))),
        *_maybe(draw, 0.1, "--samples", draw.choice(("2", "0", "x"))),
    ]  # fmt: skip


def _denoise(draw: Random) -> Line:
    method = ["--method", "median"] if draw.random() < 0.7 else ["--steps", "1"]
    maps = ("a.png", "o.tif", "new.tif", "b.tif", "t.png", "maps", "shut/t.tif", "t.tif")
    return [
        "denoise", *_inputs(draw), *_out(draw), *method, *_common(draw), *_sampled(draw),
        *_maybe(draw, 0.3, "--t-map", draw.choice(maps)),
        *_maybe(draw, 0.2, "--axes", draw.choice(("YX", "ZCYX", "YY", "", "XYZCT", "Q"))),
        *_maybe(draw, 0.1, "--gain", draw.choice(NUMBERS)),
    ]  # fmt: skip


def _upscale(draw: Random) -> Line:
    return [
        "upscale", *_inputs(draw), *_out(draw), "--method", "bicubic",
        "--scale", draw.choice(("2", "1.5", *NUMBERS)), *_common(draw), *_sampled(draw),
        *_maybe(draw, 0.2, "--control-out", draw.choice(OUTPUTS)),
        *_maybe(draw, 0.1, "--target-mpp", draw.choice(NUMBERS)),
    ]  # fmt: skip


def _detect(draw: Random) -> Line:
    out = draw.choice((_out(draw), ["-o", "m.geojson"], ["-o", "new.geojson"]))
    geo = _maybe(draw, 0.2, "--geojson")
    return ["detect", *_inputs(draw), *out, *_common(draw), *geo]


def _simulate(draw: Random) -> Line:
    kind = draw.choice(("fold", "ink", "bubble", "none"))
    area = _maybe(draw, 0.3, "--area", draw.choice(NUMBERS))
    return ["simulate", *_inputs(draw), *_out(draw), "--kind", kind, *_common(draw), *area]


def _undo(draw: Random) -> Line:
    ledger = _maybe(draw, 0.6, "--ledger", draw.choice((*LEDGERS, "made.ledger.json")))
    image = draw.choice((["made.png"], _inputs(draw)))
    if draw.random() < 0.5:
        return ["undo", *image, *_out(draw), *ledger, *_maybe(draw, 0.4, "--force")]
    source = _maybe(draw, 0.4, "--source", draw.choice((*SOUND, *HOSTILE, "in")))
    return ["verify", *image, *ledger, *source, *_maybe(draw, 0.3, "--json")]


def _show(draw: Random) -> Line:
    return [
        "show", draw.choice(("stack.tif", _image(draw))), *_out(draw),
        *_maybe(draw, 0.3, "--plane", draw.choice(NUMBERS)), *_maybe(draw, 0.2, "--provenance"),
        *_maybe(draw, 0.2, "--axes", draw.choice(("ZCYX", "YX", ""))),
        *_maybe(draw, 0.4, "--force"),
    ]  # fmt: skip


def _tiles(draw: Random) -> Line:
    begun = [f"begun/{name}" for name in ("slides-none", "slides-list", "slides-deep",
                                          "slide-empty", "slide-object", "slide-null")]  # fmt: skip
    out = draw.choice((*begun, "T", "T", "in", "a.png", "shut/T", "", "n" * 300, "a.png/T"))
    return [
        "tiles", *draw.choice((["b.tif"], _inputs(draw))), "-o", out,
        "--mpp", draw.choice(("0.5", "0.5", *NUMBERS)), "--size", draw.choice(("64", *NUMBERS)),
        "--source-mpp", draw.choice(("0.5", "0.5", *NUMBERS)), *_maybe(draw, 0.5, "--resume"),
        *_maybe(draw, 0.2, "--tissue", draw.choice(NUMBERS)),
        *_maybe(draw, 0.2, "--per-slide", draw.choice(NUMBERS)),
    ]  # fmt: skip


def _train(draw: Random) -> Line:
    lesson = draw.choice(("calibrator", "artifusion", "encoder", "iqa", "noise2noise", "rscd"))
    begun = ("runs/deep", "runs/list", "runs/object", "runs/cut", "data/plain")
    out = draw.choice((*begun, "run", "run", "a.png", "a.png/run", "shut/run", "", "n" * 300))
    return [
        "train", lesson, "--data", f"data/{draw.choice(DATA)}", "-o", out, "--steps",
        draw.choice(("1", "1", "0", "-1")), "--crop", draw.choice(("64", "64", "1", "4096")),
        "--batch", draw.choice(("1", "0")), "--device", "cpu",
        *_maybe(draw, 0.3, "--lr", draw.choice(NUMBERS)),
        *_maybe(draw, 0.2, "--seed", draw.choice(NUMBERS)), *_maybe(draw, 0.4, "--resume"),
        *_maybe(draw, 0.1, "--init", draw.choice(("models/nan", "none", "a.png"))),
        *_maybe(draw, 0.1, "--ema", draw.choice(NUMBERS)),
    ]  # fmt: skip


def _other(draw: Random) -> Line:
    return draw.choice((
        ["models", f"models/{draw.choice(MODELS)}"],
        ["models", _image(draw)],
        ["presets", draw.choice(("rscd", "none", ""))],
        ["convert", "calibrator", draw.choice(("models/shared.safetensors", "fifo.png", "zero.png",
                                               "a.png", "none", "in")),
         "-o", draw.choice(("new/conv", "models/sha", "a.png", "shut/c", "n" * 300)),
         *_maybe(draw, 0.5, "--force")],
        ["restore"], ["nothing"], ["--none"], ["train"], ["train", "none"], ["denoise", "a.png"],
    ))  # fmt: skip


VERBS = (
    (_restore, 412), (_denoise, 300), (_detect, 300), (_undo, 177), (_upscale, 120), (_train, 110),
    (_tiles, 100), (_simulate, 90), (_show, 50), (_other, 60),
)  # fmt: skip


def line(seed: int, number: int) -> Line:
    """Return the command line of a number; mutants are named without the kind of their file."""
    draw = Random(f"{seed} line {number}")  # noqa: S311
    verb = draw.choices([verb for verb, _ in VERBS], [weight for _, weight in VERBS])[0]
    return verb(draw)
