"""How hackable a reward is: what `assay audit` measures before anything is trained."""
