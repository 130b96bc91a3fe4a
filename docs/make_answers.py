"""Make the two small files that the first pages start from: made prompts and answers.

No language model has been called. Three made models answer questions whose answers can
be checked; how often each is right depends on the kind and the size of the question.

    python docs/make_answers.py

writes ``_static/recorded.csv``, a row for each call with the answer and its tokens, as
a log has them, which the tutorial judges, and ``_static/answers.csv``, a row for each
prompt with the quality and the cost of each model, on which a router is fitted.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

STATIC = Path(__file__).parent / "_static"
N_PROMPTS = 500
#: Money per million input and output tokens.
PRICES = {"small": (0.1, 0.4), "medium": (0.5, 2.0), "large": (2.5, 10.0)}
#: Chance of a right answer to an easy and to a hard question of each kind.
SKILL = {
    "sum": {"small": (0.99, 0.95), "medium": (1.0, 0.98), "large": (1.0, 0.99)},
    "capital": {"small": (0.98, 0.92), "medium": (0.99, 0.97), "large": (1.0, 0.99)},
    "sort": {"small": (0.95, 0.55), "medium": (0.99, 0.97), "large": (1.0, 0.96)},
    "product": {"small": (0.85, 0.05), "medium": (0.90, 0.10), "large": (1.0, 0.97)},
    "letters": {"small": (0.50, 0.10), "medium": (0.96, 0.93), "large": (0.95, 0.82)},
}
#: How many tokens an answer takes, with the steps that lead to it.
LENGTH = {"sum": 150, "capital": 60, "product": 200, "letters": 250, "sort": 200}
CAPITALS = {
    **{"Norway": "Oslo", "Peru": "Lima", "Japan": "Tokyo", "Kenya": "Nairobi"},
    **{"Chile": "Santiago", "Ghana": "Accra", "Nepal": "Kathmandu", "Cuba": "Havana"},
    **{"Latvia": "Riga", "Oman": "Muscat", "Fiji": "Suva", "Bhutan": "Thimphu"},
    **{"Malta": "Valletta", "Togo": "Lome", "Laos": "Vientiane", "Qatar": "Doha"},
}
WORDS = [
    "possesses",
    "mississippi",
    "banana",
    "committee",
    "assessment",
    "parallel",
    "occurrence",
    "bookkeeper",
    "letter",
    "success",
    "pepper",
    "balloon",
    "tomorrow",
    "embarrassment",
    "accommodate",
    "millennium",
]


def _ask(kind: str, hard: bool, rng: np.random.Generator) -> tuple[str, str]:
    """Draw a question, and its answer."""
    if kind in ("sum", "product"):
        low, high = {
            ("sum", False): (2, 60),
            ("sum", True): (200, 9000),
            ("product", False): (3, 20),
            ("product", True): (120, 990),
        }[kind, hard]
        a, b = (int(number) for number in rng.integers(low, high, 2))
        how, result = {
            "sum": (("What is {} plus {}?", "Add {} and {}."), a + b),
            "product": (("What is {} times {}?", "Multiply {} by {}."), a * b),
        }[kind]
        return how[rng.integers(2)].format(a, b), str(result)
    if kind == "capital":
        country = rng.choice(list(CAPITALS)[8 * hard :][:8])
        how = "What is the capital of {}?", "Name the capital city of {}."
        when = ("", " Be brief.", " One word.", " For a quiz.", " For a postcard.")
        text = how[rng.integers(2)].format(country) + when[rng.integers(5)]
        return text, CAPITALS[country]
    words = rng.choice(WORDS, 6 if hard else 2, replace=False)
    if kind == "letters":
        letter = rng.choice(list("aeosm"))
        text = f"How many times does the letter {letter} occur in: {' '.join(words)}?"
        return text, str("".join(words).count(letter))
    return f"Sort these words by alphabet: {', '.join(words)}", " ".join(sorted(words))


def _err(answer: str, rng: np.random.Generator) -> str:
    """Give a wrong answer that looks like the right one."""
    if answer.isdigit():
        step = max(1, 10 ** (len(answer) - 2))
        return str(int(answer) + step * int(rng.integers(1, 9)))
    words = answer.split()
    if len(words) > 1:
        return " ".join([*words[1:], words[0]])
    return str(rng.choice([name for name in CAPITALS.values() if name != answer]))


def main() -> None:
    """Write both files; the same bytes each time."""
    rng = np.random.default_rng(0)
    kinds, shares = list(SKILL), [0.25, 0.2, 0.25, 0.15, 0.15]
    asked: dict[str, tuple[str, str, bool]] = {}
    while len(asked) < N_PROMPTS:
        kind, hard = str(rng.choice(kinds, p=shares)), bool(rng.random() < 0.5)
        prompt, answer = _ask(kind, hard, rng)
        asked.setdefault(prompt, (answer, kind, hard))
    calls, rows = [], []
    for prompt, (answer, kind, hard) in asked.items():
        row: dict[str, object] = {"prompt": prompt}
        costs = {}
        for model, (price_in, price_out) in PRICES.items():
            right = rng.random() < SKILL[kind][model][int(hard)]
            tokens_in = 8 + len(prompt) // 4
            tokens_out = int(LENGTH[kind] * (1 + hard) * rng.uniform(0.7, 1.3))
            said = answer if right else _err(answer, rng)
            calls.append([prompt, answer, model, said, tokens_in, tokens_out])
            row[model] = int(right)
            cost = (tokens_in * price_in + tokens_out * price_out) * 1e-6
            costs[f"{model}|total_cost"] = f"{cost:.6f}"
        rows.append(row | costs)
    header = ["prompt", "expected", "model", "answer"]
    header += ["prompt_tokens", "completion_tokens"]
    with (STATIC / "recorded.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *calls])
    with (STATIC / "answers.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
