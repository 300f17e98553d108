"""Huffman tables of baseline JPEG: for reading, for writing, and the shortest ones.

A table is kept as it stands in a DHT segment: 16 bytes, how many codes have 1 to 16 bits, then the
symbols in the order of their codes (ITU-T T.81, sections B.2.4.2 and C).
"""

from __future__ import annotations

import heapq
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

END_OF_BLOCK = 64
"""How far the end-of-block symbol advances in a block: past its last coefficient."""


@lru_cache(maxsize=64)
def codes(table: bytes) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return code word and length in bits of each of the 256 symbols; length 0 where none.

    Raises
    ------
    ValueError
        If the table is no prefix code.
    """
    counts, symbols = table[:16], table[16:]
    if sum(counts) != len(symbols) or len(set(symbols)) != len(symbols):
        raise ValueError("a Huffman table does not fit its own counts")
    word_of, length_of = np.zeros(256, np.int64), np.zeros(256, np.int64)
    word = at = 0
    for length in range(1, 17):
        for symbol in symbols[at : at + counts[length - 1]]:
            word_of[symbol], length_of[symbol] = word, length
            word += 1
        at += counts[length - 1]
        if word > 1 << length:
            raise ValueError("a Huffman table has more codes than bits")
        word <<= 1
    return word_of, length_of


@lru_cache(maxsize=64)
def windows(table: bytes) -> npt.NDArray[np.uint16]:
    """Return, for any 16 bits, symbol + 256 * length in bits of the code that they begin with.

    Raises
    ------
    ValueError
        If the table is no prefix code.
    """
    word_of, length_of = codes(table)
    found = np.zeros(1 << 16, np.uint16)
    for symbol in table[16:]:
        length = int(length_of[symbol])
        first = int(word_of[symbol]) << (16 - length)
        found[first : first + (1 << (16 - length))] = symbol + 256 * length
    return found


@lru_cache(maxsize=64)
def ac_strides(table: bytes, shift: int) -> npt.NDArray[Any]:
    """Return how far each 16 bits lead: bits to the next symbol, and coefficients << `shift`.

    Raises
    ------
    ValueError
        If the table is no prefix code.
    """
    found = windows(table).astype(np.int64)
    symbol, length = found & 255, found >> 8
    size, run = symbol & 15, symbol >> 4
    # Of the symbols without a value only 15/0 (a run of 16 zeros) leaves the block open.
    over = np.where((size > 0) | (run == 15), run + 1, END_OF_BLOCK)
    over = np.where(length == 0, END_OF_BLOCK, over)
    return (length + size + (over << shift)).astype(np.int32 if shift <= 24 else np.int64)


@lru_cache(maxsize=16)
def dc_strides(table: bytes, shift: int) -> list[int]:
    """Return the same for DC symbols, of which there are few: as a list, quick to look up in.

    Raises
    ------
    ValueError
        If the table is no prefix code.
    """
    found = windows(table).astype(np.int64)
    lengths: list[int] = ((found & 255) + (found >> 8) + (1 << shift)).tolist()
    return lengths


def shortest(frequencies: npt.NDArray[np.int64]) -> bytes:
    """Return the table that codes symbols of these frequencies in the fewest bits.

    Huffman's construction with lengths limited to 16 bits and no word of ones alone, as T.81
    demands; section K.2.

    Parameters
    ----------
    frequencies : (256,) int
    """
    present = [int(symbol) for symbol in np.flatnonzero(frequencies)]
    # An extra leaf of no frequency takes the word of ones, and is dropped at the end.
    heap = [(int(frequencies[s]), -i, i) for i, s in enumerate(present)] + [
        (0, -len(present), len(present))
    ]
    heapq.heapify(heap)
    parent: dict[int, int] = {}
    node = len(present) + 1
    while len(heap) > 1:
        first, second = heapq.heappop(heap), heapq.heappop(heap)
        parent[first[2]] = parent[second[2]] = node
        heapq.heappush(heap, (first[0] + second[0], -node, node))
        node += 1
    depth = {node - 1: 0}
    for inner in range(node - 2, -1, -1):
        depth[inner] = depth[parent[inner]] + 1
    counts = [0] * 300
    for leaf in range(len(present) + 1):
        counts[depth[leaf]] += 1
    for length in range(299, 16, -1):
        while counts[length] > 0:
            shorter = length - 2
            while counts[shorter] == 0:
                shorter -= 1
            counts[length] -= 2
            counts[length - 1] += 1
            counts[shorter + 1] += 2
            counts[shorter] -= 1
    counts[max(n for n in range(17) if counts[n])] -= 1
    order = sorted(range(len(present)), key=lambda leaf: (depth[leaf], present[leaf]))
    return bytes(counts[1:17]) + bytes(present[leaf] for leaf in order)
