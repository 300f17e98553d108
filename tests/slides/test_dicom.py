"""Restored DICOM slides: frames replaced, all others byte for byte, and back again."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from typer.testing import CliRunner

from histomend import restore_slide
from histomend.cli.app import app
from histomend.errors import UnreadableImageError, UnsupportedImageError
from histomend.ledger.slides import verify_slide
from histomend.masks import write_mask
from histomend.models import Model, load_model
from histomend.slides import dicom_sink
from histomend.slides.dicom_frames import check_one_instance, read_frames
from histomend.slides.undo import undo, verify

openslide = pytest.importorskip("openslide")
pydicom = pytest.importorskip("pydicom")

FRAME = 128
SIZE = 500, 420
FAST: dict[str, Any] = {"device": "cpu", "preset": "generate", "steps": 1, "mpp": 0.5}


def make_dicom(path: Path, pixels: np.ndarray, subsampling: str = "420", **changed: Any) -> Path:
    """Write a slide of one instance, as scanners do: JPEG frames, row by row."""
    h, w = pixels.shape[:2]
    padded = np.pad(pixels, ((0, -h % FRAME), (0, -w % FRAME), (0, 0)), mode="edge")
    frames = [
        imagecodecs.jpeg8_encode(
            np.ascontiguousarray(padded[y : y + FRAME, x : x + FRAME]),
            level=80,
            colorspace="RGB",
            outcolorspace="YCBCR",
            subsampling=subsampling,
        )
        for y in range(0, h, FRAME)
        for x in range(0, w, FRAME)
    ]
    measures, groups, made = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
    measures.PixelSpacing = [0.0005, 0.0005]
    measures.SliceThickness = 0.001
    groups.PixelMeasuresSequence = [measures]
    new = pydicom.uid.generate_uid
    said: dict[str, Any] = {
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.77.1.6",
        "SOPInstanceUID": new(entropy_srcs=["instance"]),
        "StudyInstanceUID": new(entropy_srcs=["study"]),
        "SeriesInstanceUID": new(entropy_srcs=["series"]),
        "FrameOfReferenceUID": new(entropy_srcs=["frame"]),
        "Modality": "SM",
        "ImageType": ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"],
        "PatientName": "NOBODY^",
        "DimensionOrganizationType": "TILED_FULL",
        "SamplesPerPixel": 3,
        "PhotometricInterpretation": "YBR_FULL_422",
        "PlanarConfiguration": 0,
        "NumberOfFrames": len(frames),
        "Rows": FRAME,
        "Columns": FRAME,
        "BitsAllocated": 8,
        "BitsStored": 8,
        "HighBit": 7,
        "PixelRepresentation": 0,
        "TotalPixelMatrixColumns": w,
        "TotalPixelMatrixRows": h,
        "ImagedVolumeWidth": w * 0.0005,
        "ImagedVolumeHeight": h * 0.0005,
        "SharedFunctionalGroupsSequence": [groups],
        "PixelData": pydicom.encaps.encapsulate(frames, has_bot=True),
        **changed,
    }
    for name, value in said.items():
        setattr(made, name, value)
    made["PixelData"].VR = "OB"
    made.file_meta = pydicom.dataset.FileMetaDataset()
    made.file_meta.TransferSyntaxUID = pydicom.uid.JPEGBaseline8Bit
    pydicom.dcmwrite(path, made, enforce_file_format=True)
    return path


@pytest.fixture(scope="module")
def model(untrained: Path) -> Model:
    return load_model(untrained, "cpu")


@pytest.fixture(params=["made 4:2:0", "made 4:4:4", "real"])
def slide(request: pytest.FixtureRequest, tissue: np.ndarray, tmp_path: Path) -> Path:
    if request.param == "real":
        data = request.getfixturevalue("shared_data") / "slides" / "camelyon_multiframe.dcm"
        (tmp_path / "in.dcm").write_bytes(data.read_bytes())
        return tmp_path / "in.dcm"
    sampling = request.param.removeprefix("made ").replace(":", "")
    return make_dicom(tmp_path / "in.dcm", tissue[: SIZE[1], : SIZE[0]], sampling)


@pytest.fixture
def made(tissue: np.ndarray, tmp_path: Path) -> Path:
    return make_dicom(tmp_path / "in.dcm", tissue[: SIZE[1], : SIZE[0]])


@pytest.fixture
def restored(made: Path, model: Model) -> Path:
    return restore(made, made.with_name("out.dcm"), model)


def pixels_of(path: Path) -> np.ndarray:
    with openslide.OpenSlide(str(path)) as slide:
        return np.asarray(slide.read_region((0, 0), 0, slide.dimensions))[..., :3]


def write_marks(path: Path, size: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(size[::-1], bool)
    mask[100:140, 110:133] = mask[-14:, -20:] = True  # four frames, and an edge
    write_mask(path, mask, force=True)
    return mask


def restore(slide: Path, out: Path, model: Model, **more: Any) -> Path:
    with openslide.OpenSlide(str(slide)) as opened:
        write_marks(slide.with_name("mask.geojson"), opened.dimensions)
    restore_slide(slide, out, slide.with_name("mask.geojson"), model=model, **FAST, **more)
    return out


def header(path: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a UID that is too long in the real file
        return pydicom.dcmread(path)


def test_only_what_is_masked_changes_and_undo_gives_the_file(
    slide: Path, model: Model, tmp_path: Path
) -> None:
    out = restore(slide, tmp_path / "out.dcm", model)
    before, after = pixels_of(slide), pixels_of(out)
    differs = (before != after).any(2)
    mask = write_marks(tmp_path / "mask.geojson", before.shape[1::-1])
    grown = np.zeros(differs.shape, bool)
    proof = verify(out, slide)
    for change in proof.changes:
        x, y, w, h = change.region
        grown[y : y + h, x : x + w] |= change.grown()
    assert proof.problems == ()
    assert not differs[~grown].any()
    assert differs[mask].mean() > 0.9
    assert grown.sum() < mask.sum() + 34 * 34 * 8  # whole blocks of the compression, no more

    with slide.open("rb") as one, out.open("rb") as other:
        old, new = read_frames(one, "in"), read_frames(other, "out")
        touched = {change.tile for change in proof.changes}
        same = [n for n in range(len(old.frames)) if old.stream(one, n) == new.stream(other, n)]
    assert set(range(proof.tiles)) - touched == set(same)
    assert 2 <= len(touched) <= 6

    undo(out, tmp_path / "back.dcm")
    assert (tmp_path / "back.dcm").read_bytes() == slide.read_bytes()
    again = restore(slide, tmp_path / "again.dcm", model)
    assert again.read_bytes() == out.read_bytes()


def test_it_says_that_it_is_derived_and_of_what(made: Path, restored: Path) -> None:
    old, new = header(made), header(restored)
    assert list(new.ImageType) == ["DERIVED", "PRIMARY", "VOLUME", "NONE"]
    assert new.DerivationDescription.startswith("Restored, not for diagnosis; Restored by = Histo")
    assert new.SourceImageSequence[0].ReferencedSOPInstanceUID == old.SOPInstanceUID
    assert new.SourceImageSequence[0].ReferencedSOPClassUID == old.SOPClassUID
    assert new.SOPInstanceUID == new.file_meta.MediaStorageSOPInstanceUID != old.SOPInstanceUID
    assert new.SeriesInstanceUID != old.SeriesInstanceUID
    assert new.StudyInstanceUID == old.StudyInstanceUID
    changed = {
        "ImageType", "SOPInstanceUID", "SeriesInstanceUID", "DerivationDescription",
        "SourceImageSequence", "PixelData", "DataSetTrailingPadding",
    }  # fmt: skip
    for each in old:
        assert each.keyword in changed or new[each.tag] == each
    assert {each.keyword for each in new} - {each.keyword for each in old} <= changed
    assert new.pixel_array.shape == (16, FRAME, FRAME, 3)


def test_the_verbs_take_dicom(made: Path, untrained: Path, tmp_path: Path) -> None:
    write_marks(tmp_path / "mask.geojson", SIZE)

    def run(*words: object) -> Any:
        return CliRunner().invoke(app, [str(word) for word in words])

    words = ("--mask", tmp_path / "mask.geojson", "--model", untrained, "--preset", "generate")
    out = tmp_path / "out.dcm"
    for option in ("--compact", "--no-label", "--lossy"):
        refused = run("restore", made, "-o", out, *words, option)
        assert refused.exit_code == 2
        assert "frame by frame" in " ".join(refused.stderr.split())
    done = run("restore", made, "-o", out, *words, "--steps", 1, "--device", "cpu")
    assert done.exit_code == 0, done.stderr
    checked = run("verify", out, "--source", made)
    assert checked.exit_code == 0, checked.stdout
    assert "16 tiles are the source's" in checked.stdout
    out.with_name("out.ledger.json").rename(tmp_path / "elsewhere.json")
    assert run("verify", out).exit_code == 0
    assert run("undo", out, "-o", tmp_path / "back.dcm").exit_code == 0
    assert (tmp_path / "back.dcm").read_bytes() == made.read_bytes()
    pyramid = run("restore", made, "-o", tmp_path / "o.tif", *words, "--steps", 1)
    assert pyramid.exit_code == 0, pyramid.stderr


@pytest.mark.parametrize("what", ["frame", "edited frame", "header", "replaced", "trailer"])
def test_verify_tells_what_was_changed_afterwards(restored: Path, what: str) -> None:
    proof = verify(restored)
    assert proof.ok
    touched = {change.tile for change in proof.changes}
    data = bytearray(restored.read_bytes())
    with restored.open("rb") as file:
        frames = read_frames(file, "out")
    other = next(n for n in range(proof.tiles) if n not in touched)
    places = {
        "frame": frames.frames[other][0] + frames.frames[other][1] // 2,
        "edited frame": frames.frames[min(touched)][0] + frames.frames[min(touched)][1] // 2,
        "header": data.index(b"DERIVED"),
        "replaced": frames.end + 8 + 12 + 2000,
        "trailer": len(data) - 40,
    }
    data[places[what]] ^= 1
    restored.write_bytes(data)
    if what == "trailer":
        with pytest.raises(UnreadableImageError, match="what it says of its source is damaged"):
            verify(restored)
        with pytest.raises(UnreadableImageError, match="damaged"):
            undo(restored, restored.with_name("back.dcm"))
        return
    assert not verify(restored).ok
    assert not verify_slide(restored).ok
    if what in ("frame", "replaced"):
        with pytest.raises(UnreadableImageError, match="is damaged"):
            undo(restored, restored.with_name("back.dcm"))
    else:
        undo(restored, restored.with_name("back.dcm"))
    assert (restored.with_name("back.dcm")).exists() == (what in ("edited frame", "header"))


def test_frames_beyond_4_gib_have_a_table_of_their_own(
    made: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = pixels_of(restore(made, made.with_name("a.dcm"), model))
    monkeypatch.setattr(dicom_sink, "_LARGEST_OFFSET", 0)
    out = restore(made, made.with_name("b.dcm"), model)
    said = header(out)
    assert len(said.ExtendedOffsetTable) == 8 * 16
    streams = list(
        pydicom.encaps.generate_frames(
            said.PixelData,
            number_of_frames=16,
            extended_offsets=(said.ExtendedOffsetTable, said.ExtendedOffsetTableLengths),
        )
    )
    with out.open("rb") as file:
        frames = read_frames(file, "out")
        assert [frames.stream(file, n) for n in range(16)] == streams
    assert (pixels_of(out) == plain).all()
    assert verify(out, made).ok


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"DimensionOrganizationType": "TILED_SPARSE"},
            "DimensionOrganizationType is TILED_SPARSE",
        ),
        ({"PhotometricInterpretation": "MONOCHROME2"}, "PhotometricInterpretation is MONOCHROME2"),
        ({"TotalPixelMatrixColumns": 900}, "16 pieces of pixels"),
    ],
)
def test_what_is_not_edited_is_told_and_what_to_do(
    tissue: np.ndarray, tmp_path: Path, change: dict[str, Any], says: str
) -> None:
    slide = make_dicom(tmp_path / "in.dcm", tissue[: SIZE[1], : SIZE[0]], **change)
    with pytest.raises(UnsupportedImageError, match=f"{says}.*-o NAME.tif"):
        check_one_instance(slide, 1)


def test_levels_in_files_of_their_own_and_damage_are_told(made: Path, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedImageError, match="3 levels are files of their own"):
        check_one_instance(made, 3)
    data = made.read_bytes()
    for at in (100, 500, len(data) // 2, len(data) - 4):
        (tmp_path / "cut.dcm").write_bytes(data[:at])
        with pytest.raises((UnreadableImageError, UnsupportedImageError)):
            check_one_instance(tmp_path / "cut.dcm", 1)
