"""Questions and requests in plain English: every form about every thing, in an order of its own."""

from __future__ import annotations

import random

FORMS = (
    "Explain to a beginner what {} are.",
    "What is the most important thing to know about {}?",
    "Tell me something surprising about {}.",
    "Write a short poem about {}.",
    "Why do people care about {}?",
    "Give me advice on choosing {}.",
    "How would you describe {} to a child?",
    "Write the first lines of a story in which {} matter.",
    "What did people long ago think of {}?",
    "Write a friendly note that thanks a friend for {}.",
    "What mistakes do people make with {}?",
    "Make up a riddle whose solution is {}.",
    "What will have become of {} in a hundred years?",
    "Write one paragraph for a magazine about {}.",
    "What questions should I ask an expert on {}?",
    "Describe a museum of {}.",
    "How do {} change over a year?",
    "What can be learnt from {}?",
    "Write a letter of complaint about {}.",
    "Which myths about {} are wrong?",
    "Describe {} as you would see, hear and smell them.",
    "Give a short speech in praise of {}.",
    "What would the world be without {}?",
    "Compare {} with something that nobody would expect.",
)
THINGS = (
    "bees", "bridges", "volcanoes", "umbrellas", "bicycles", "clocks", "owls", "candles",
    "trains", "onions", "glaciers", "violins", "maps", "lighthouses", "spiders", "kites",
    "mushrooms", "dreams", "windmills", "tea leaves", "earthquakes", "pianos", "libraries",
    "penguins", "deserts", "keys", "mirrors", "tomatoes", "dentists", "rivers", "elephants",
    "shadows", "sailing boats", "potatoes", "comets", "gloves", "wolves", "markets", "ferns",
    "chess players", "whales", "cheeses", "letters", "tunnels", "roses", "neighbours", "stars",
    "pillows", "snails", "ladders", "coins", "thunderstorms", "horses", "buttons", "islands",
    "jokes", "carpets", "foxes", "telescopes", "apples", "ghosts", "schools", "butterflies",
    "engines", "puzzles", "olive trees", "hospitals", "pencils", "waterfalls", "cats", "bakers",
    "shoes", "planets", "drums", "gardens", "sharks", "paper planes", "soaps", "castles",
    "turtles", "lawyers", "noodles", "rainbows", "parrots", "tents", "fossils", "ants",
    "magnets", "lemons", "dances", "camels", "radios", "forests", "twins", "spoons", "frogs",
    "elevators", "grandparents", "oceans", "barbers",
)  # fmt: skip


def prompts() -> list[str]:
    """Every form about every thing, 2,400 of them, shuffled once and for all."""
    every = [form.format(thing) for form in FORMS for thing in THINGS]
    random.Random(0).shuffle(every)
    return every
