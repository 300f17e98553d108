"""The note that a slide was restored, in each kind of description."""

import re
import uuid
import xml.etree.ElementTree as ET

import pytest

from histomend.errors import SettingError
from histomend.slides.description import check_fields, restored_description

FIELDS = {"Restored by": "histomend 1", "Source bytes": "12"}
UUID = b"urn:uuid:00000000-0000-0000-0000-000000000001"


def described(old: bytes | None, identity: str = "a") -> bytes | None:
    return restored_description(
        old, FIELDS, identity=identity, source="old.ome.tif", target="new & <.ome.tif"
    )


def ome(inner: bytes = b"", prefix: bytes = b"") -> bytes:
    space = b' xmlns%s="http://www.openmicroscopy.org/Schemas/OME/2016-06"' % (
        b":" + prefix[:-1] if prefix else b""
    )
    return (
        b'<?xml version="1.0" encoding="UTF-8"?><!-- OME > --><%sOME%s UUID="%s">'
        b'<%sImage ID="Image:0" Name="5 \xc2\xb5m"></%sImage>%s</%sOME>'
    ) % (prefix, space, UUID, prefix, prefix, inner, prefix)


def test_aperio_keeps_its_lines_and_gains_properties() -> None:
    old = b"Aperio Image Library v1 \r\n10x10 \xb5|MPP = 0.5"
    assert described(old) == (
        old + b"|Restored = yes, not for diagnosis|Restored by = histomend 1|Source bytes = 12"
    )


def test_no_description_becomes_the_note() -> None:
    note = b"Restored, not for diagnosis|Restored by = histomend 1|Source bytes = 12"
    assert described(None) == described(b"  ") == note


@pytest.mark.parametrize("old", [b'{"shape": [1, 2]}', b"<vendor/>", b"ImageJ=1.0", b"shape=(1,)"])
def test_what_other_readers_depend_on_is_left_alone(old: bytes) -> None:
    assert described(old) is None


@pytest.mark.parametrize("prefix", [b"", b"ome:"])
def test_ome_gains_an_annotation_and_a_uuid_of_its_own(prefix: bytes) -> None:
    new = described(ome(prefix=prefix))
    assert new is not None
    assert b"5 \xc2\xb5m" in new  # bytes, not characters
    root = ET.fromstring(new)  # noqa: S314
    space = "{http://www.openmicroscopy.org/Schemas/OME/2016-06}"
    comment = root.find(f"{space}StructuredAnnotations/{space}CommentAnnotation/{space}Value")
    assert comment is not None
    assert comment.text == "Restored, not for diagnosis|Restored by = histomend 1|Source bytes = 12"
    fresh = root.get("UUID")
    assert fresh is not None
    assert uuid.UUID(fresh).version == 5
    assert new == described(ome(prefix=prefix))
    assert new != described(ome(prefix=prefix), identity="b")


def test_ome_annotations_stand_before_regions_and_beside_others() -> None:
    others = b'<StructuredAnnotations><X ID="Annotation:0"/></StructuredAnnotations><ROI ID="R"/>'
    new = described(ome(others)) or b""
    assert new.count(b"<StructuredAnnotations>") == 1
    assert b'<X ID="Annotation:0"/><CommentAnnotation ID="Annotation:1"' in new
    new = described(ome(b'<ROI ID="R"/>')) or b""
    assert new.index(b"<StructuredAnnotations>") < new.index(b"<ROI")


def test_ome_names_its_own_file_and_no_other() -> None:
    inner = (
        b'<UUID FileName="elsewhere.tif">%s</UUID><UUID FileName="old.ome.tif">%s</UUID>'
        b'<UUID FileName="other.tif">urn:uuid:7</UUID>'
    ) % (UUID, UUID)
    new = described(ome(inner)) or b""
    assert UUID not in new
    assert re.findall(rb'FileName="([^"]*)"', new) == [b"new &amp; &lt;.ome.tif"] * 2 + [
        b"other.tif"
    ]
    assert b'"other.tif">urn:uuid:7<' in new
    ET.fromstring(new)  # noqa: S314


@pytest.mark.parametrize("fields", [{"a": "b|c"}, {"a": "µ"}, {"a=": "b"}, {"": "b"}, {"a": "b\n"}])
def test_what_a_description_cannot_hold_is_refused(fields: dict[str, str]) -> None:
    with pytest.raises(SettingError, match="description"):
        check_fields(fields)
