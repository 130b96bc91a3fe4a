"""The surface of a prompt: its length, and what kinds of characters it is made of.

Code, formulas, lists of options and long contexts ask for other models than a question
in a sentence, whatever the topic. Most is counted in one pass over the bytes of UTF-8.
"""

from __future__ import annotations

import re

import numpy as np

_CODE = re.compile(r"\b(?:def|class|import)\b")
# "A) yes", "(b) no", "C. maybe" at the beginning of a line.
_OPTION = re.compile(r"^[ \t]*\(?[A-Ja-j][).:][ \t]", re.MULTILINE)
#: Shares of the bytes of a prompt, by the bytes that count.
_SHARES = {
    "digits": b"0123456789",
    "capitals": b"ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    # The first byte of each character that is not ASCII.
    "non_ascii": bytes(range(0xC0, 0x100)),
    "operators": b"+-*/=<>^%|&~",
    "braces": b"(){}[]",
    "commas": b",",
}
_BYTES = np.zeros((256, len(_SHARES)))
for _column, _set in enumerate(_SHARES.values()):
    _BYTES[list(_set), _column] = 1.0

#: What `measure_surface` measures, in its order.
SURFACE = (
    "log_length",
    "log_words",
    "log_lines",
    "log_question_marks",
    "log_code_fences",
    "log_code_words",
    "log_options",
    "word_length",
    *_SHARES,
)


def measure_surface(prompts: list[str]) -> np.ndarray:
    """Measure the surface of prompts, (n_prompts, 14), each measure in its own unit."""
    counts = np.zeros((len(prompts), 8))
    shares = np.zeros((len(prompts), len(_SHARES)))
    for row, prompt in enumerate(prompts):
        content = np.frombuffer(prompt.encode(), np.uint8)
        n_words = len(prompt.split())
        counts[row] = (
            len(prompt),
            n_words,
            prompt.count("\n"),
            prompt.count("?"),
            prompt.count("```"),
            len(_CODE.findall(prompt)),
            len(_OPTION.findall(prompt)),
            len(prompt) / max(n_words, 1),
        )
        of_bytes = np.bincount(content, minlength=256) @ _BYTES
        shares[row] = of_bytes / max(len(prompt), 1)
    # Twice as long matters as much for short prompts as for long ones.
    return np.hstack([np.log1p(counts), shares])
