"""Text that runs, loads or leaves wherever a page takes it for markup or for a program."""

from __future__ import annotations

ELSEWHERE = "https://elsewhere.invalid"

# {run} notes in the window that the attack worked, without a quote or a space
ATTACKS = {
    "script": "<script>{run}</script>",
    "end-of-script": "</script><script>{run}</script>",
    "end-of-style": "</style><style>*{{background:url(" + ELSEWHERE + "/css)}}</style>",
    "end-of-title": "</title></textarea></svg></math></noscript><script>{run}</script>",
    "end-of-comment": "--><script>{run}</script><!--<script>",
    "image": "<img src=x onerror={run}>",
    "svg": "<svg onload={run}><animate onbegin={run} attributeName=x dur=1s></svg>",
    "foreign": "<math><mtext><style><img title='</style><img src=x onerror={run}>'></math>",
    "attribute": "\" onfocus={run} autofocus onmouseover={run} x='",
    "apostrophe": "' onfocus={run} autofocus onmouseover={run} x=\"",
    "link": "<a href=javascript:{run}>link</a>",
    "address": "javascript:{run}",
    "data": "<object data='data:text/html,<script>top.{run};alert(1)</script>'></object>",
    "frame": "<iframe srcdoc='<script>top.{run}</script>'></iframe>",
    "script-address": "<iframe src=javascript:top.{run}></iframe>",
    "loaded": f"<img src={ELSEWHERE}/img><link rel=stylesheet href={ELSEWHERE}/link>",
    "refresh": f"<meta http-equiv=refresh content='0;url={ELSEWHERE}/'><base href={ELSEWHERE}/>",
    "form": f"<form action={ELSEWHERE}><button autofocus>press</button></form>",
    "template": "{{{{ [].constructor.constructor('{run}')() }}}}{{% raw %}}${{{run}}}`",
    "expression": "'];{run};['\"+{run}+\" \\u0027);{run};// datum['m']=warn(1)",
    "markdown": f"![x]({ELSEWHERE}/markdown)",
    "controls": "\u202egnorw\u202c \x07\x1b[31m\u200b\u2028",
}
LONG = "unbreakable" * 15
RIGHT_TO_LEFT = "שלום עולם, זה משפט ארוך מאוד שנכתב מימין לשמאל. مرحبا بالعالم، هذه جملة طويلة."
EMOJI = "👩‍👩‍👧‍👦🏳️‍🌈👍🏽" * 4


# names stand in every row of a chart: they get the attacks on the places where names stand
NAMES = ("end-of-script", "end-of-style", "image", "svg", "attribute", "apostrophe", "expression")
TEXTS = ("prompt", "completion", "title", "first", "second", "cell", "naive", "error", "verdict")


def hostile(field: str, only: str | None = None) -> str:
    """Every attack in one text, fewer in a name, or one; what runs says `field` and which."""
    if field == "url":
        only = "address"
    names = [only] if only else ATTACKS if field in TEXTS else NAMES
    return ("" if field == "url" else f"{field} ") + " ".join(
        ATTACKS[name].format(run=f"ran.push(/{field}:{name}/.source)") for name in names
    )


def odd(field: str) -> str:
    """What is hard to lay out: no place to break, the other direction, characters of many parts."""
    return f"{field} {LONG} {RIGHT_TO_LEFT} {EMOJI}"
