"""Opens repositories by name: `python open_from_hub.py REPO…`, prints what came of each as JSON."""

import json
import sys

import torch

from assay.data.model_trust import trusting
from assay.errors import InputError
from assay.rewards.encoding import open_tokenizer
from assay.worlds.device import open_model

for name in sys.argv[1:]:
    repo, _, trust = name.partition("+")
    try:
        with trusting(bool(trust)):
            tokens = len(open_tokenizer(repo))
            made = open_model(repo, torch.float32, 0, torch.device("cpu"))
        said = f"{type(made).__name__} with {tokens} tokens, named {made.name_or_path}"
    except InputError as why:
        said = str(why)
    print(json.dumps({name: said}))
