"""The judgement of test_watch_run's labeler, as a person with a sheet would write it down."""


def better(first: str, second: str) -> str:
    a, b = (sum(w.startswith("common") for w in text.split()) for text in (first, second))
    return "1" if a > b else "2" if a < b else "="
