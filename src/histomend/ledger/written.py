"""What the records of whole images have in common: JSON with a checksum, written whole."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from histomend.image import write_text
from histomend.ledger.schema import checksum, plain


@dataclass(frozen=True)
class WrittenRecord:
    """A record that lies beside an image as JSON; its children say what it holds."""

    def to_json(self) -> str:
        """Give the record as JSON text, with a checksum over all of it.

        Raises
        ------
        LedgerError
            If a setting or a model entry cannot be stored as JSON.
        """
        data = plain(asdict(self), "record")
        data["checksum"] = checksum(data)
        return json.dumps(data, indent=1, allow_nan=False) + "\n"

    def write(self, path: Path | str, force: bool = False) -> None:
        """Write the record; the file appears complete or not at all.

        Raises
        ------
        OutputError
            The file exists (and not `force`), or cannot be written.
        """
        write_text(path, self.to_json(), force=force)
