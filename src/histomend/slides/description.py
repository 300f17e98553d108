"""The description of a slide (TIFF tag 270), with a note that it was restored.

Edited as bytes: a text that is decoded with one encoding and encoded with another turns "µm" into
something that readers no longer understand. Readers take a file for what its description says, so
Aperio's first line stays, OME-XML stays OME-XML with a UUID of its own, and descriptions that are
JSON or XML of other vendors are left alone; the note then goes into tag 305.
"""

from __future__ import annotations

import re
import uuid
from xml.sax.saxutils import escape, quoteattr

from histomend.errors import SettingError, display_name, utf8

MARK = "Restored, not for diagnosis"
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://histomend.org/restored")
_PLAIN = re.compile(r"[ -{}~]*")  # printable ASCII but for the separator |


def check_fields(fields: dict[str, str]) -> None:
    """Refuse what a description cannot hold.

    Raises
    ------
    SettingError
    """
    for name, value in fields.items():
        if not name or "=" in name or not _PLAIN.fullmatch(name + value):
            raise SettingError(
                f"description: {name!r} = {value!r} cannot stand in a slide's description; names "
                "and values are printable ASCII without '|', names without '='."
            )


def restored_description(
    old: bytes | None, fields: dict[str, str], *, identity: str, source: str, target: str
) -> bytes | None:
    """Return the description of a restored slide; None if the old one has to stay.

    Parameters
    ----------
    old : bytes or None
        Tag 270 of the first directory.
    fields : dict of str to str
        What is to be told besides the mark.
    identity : str
        What the UUID of an OME-XML is derived from: the same for the same result.
    source, target : str
        File names; OME-XML can name its own file.
    """
    note = "|".join([MARK, *(f"{name} = {value}" for name, value in fields.items())])
    if not old or not old.strip():
        return note.encode("ascii")
    head = old.lstrip(b"\xef\xbb\xbf \r\n\t")
    root = re.search(rb"<(\w+:)?OME[\s>]", head)
    if head.startswith(b"<") and root:
        return _ome(old, root[1] or b"", note, identity, source, target)
    if head.startswith((b"<", b"{", b"[", b"shape=", b"ImageJ=", b"SCANIMAGE")):
        return None
    # Aperio's readers turn each part into a property: "Restored" rather than a part without "=".
    parts = ["Restored = yes, not for diagnosis", *(f"{n} = {v}" for n, v in fields.items())]
    return old.rstrip(b"\r\n") + b"|" + "|".join(parts).encode("ascii")


def software_note(fields: dict[str, str]) -> bytes:
    """Return the note for tag 305, where the description has to stay."""
    return "|".join([MARK, *(f"{n} = {v}" for n, v in fields.items())]).encode("ascii")


def _ome(
    old: bytes, prefix: bytes, note: str, identity: str, source: str, target: str
) -> bytes | None:
    end = old.rfind(b"</" + prefix + b"OME>")
    if end < 0:
        return None
    fresh = f"urn:uuid:{uuid.uuid5(_NAMESPACE, identity)}"
    text = escape(note, {'"': "&quot;"}).encode("ascii")
    taken = set(re.findall(rb'ID="(Annotation:[^"]*)"', old))
    number = next(n for n in range(len(taken) + 1) if b"Annotation:%d" % n not in taken)
    comment = (
        b'<%sCommentAnnotation ID="Annotation:%d" Namespace="histomend.org/restored">'
        b"<%sValue>%s</%sValue></%sCommentAnnotation>"
    ) % (prefix, number, prefix, text, prefix, prefix)
    close = b"</" + prefix + b"StructuredAnnotations>"
    if close in old:
        at = old.rfind(close)
        new = old[:at] + comment + old[at:]
    else:
        # The schema wants annotations after the images and before the regions of interest.
        image = old.rfind(b"</" + prefix + b"Image>")
        at = end if image < 0 else image + len(b"</" + prefix + b"Image>")
        opened = b"<" + prefix + b"StructuredAnnotations>"
        new = old[:at] + opened + comment + close + old[at:]
    return _renamed(new, fresh.encode("ascii"), source, target)


def _renamed(xml: bytes, fresh: bytes, source: str, target: str) -> bytes:
    """Give the document a UUID of its own, and its own name where it states the file's."""
    root = re.search(rb"<(?:\w+:)?OME[\s>][^>]*", xml)
    found = re.search(rb'UUID="(urn:uuid:[^"]*)"', root[0] if root else b"")
    name = utf8(quoteattr(display_name(target))[1:-1])
    old_name = utf8(quoteattr(source)[1:-1])

    def renamed(match: re.Match[bytes]) -> bytes:
        own = found is not None and match[3].strip() == found[1]
        if not own and match[2] != old_name:
            return match[0]  # of another file of the same data set
        return match[1] + b'"' + name + b'">' + fresh

    xml = re.sub(rb'(<(?:\w+:)?UUID\s+FileName=)"([^"]*)"\s*>([^<]*)', renamed, xml)
    return xml.replace(found[1], fresh) if found else xml
