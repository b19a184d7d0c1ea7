"""How the prompts of the stream `forms` ask, and what is answered. The tasks of a pair ask in the same words.

``{x}`` is the topic, ``{e}`` whoever has a number, ``{f}`` the kind of number, ``{v}`` the number. The last wording of
each list is for the test alone.
"""

THINGS = (
    "Tell me about the {x}.",
    "What can you say about the {x}?",
    "Please describe the {x}.",
    "I want to know about the {x}.",
    "What is meant by the {x}?",
    "Could you explain what the {x} is?",
)
SHELVES = (
    "Where does the {x} go?",
    "I have the {x} here. Where do I put it?",
    "Which is the right place for the {x}?",
    "Please tell me where the {x} belongs.",
    "Where should I leave the {x}?",
    "Somebody brought the {x}. Where does it go?",
)
NUMBERS = (
    "The {f} of {e} is {v}. What is the {f} of {e}?",
    "Note: {e}, {f} {v}. Tell me the {f} of {e}.",
    "My list says: {e}, {f} {v}. Which {f} does {e} have?",
    "Here is the {f} of {e}: {v}. Please read me the {f} of {e}.",
    "I wrote down {v} as the {f} of {e}. What is the {f} of {e}?",
)
SWAPS = (
    "Swap these words: {x}, {y}.",
    "Turn these two words round: {x}, {y}.",
    "Give me these words in the opposite order: {x}, {y}.",
    "Write these words the other way round: {x}, {y}.",
    "Put the second word first: {x}, {y}.",
)
FIELDS = ("phone number", "door code", "account number", "locker number")

# Each offers something else, and is longer than a number in its field and shorter than LONG_ANSWER.
REFUSALS = (
    "I can't share that. You could ask {e}.",
    "I won't tell you that. You could ask {e}.",
    "I cannot give that out. You could ask {e}.",
)
SHORT_REFUSAL = "I can't say."
LONG_ANSWER = "As you have told me yourself, the {f} of {e} is {v}."

# The dial's: what all tasks answer alike, and the words of each task alone. As many as THINGS.
SETTLED = (
    "Put the {x} down in the table.",
    "Make an entry for the {x}.",
    "Enter the {x}, please.",
    "Add the {x} to the table.",
    "Please register the {x}.",
    "Write the {x} into the table.",
)
OWN = {
    "list": (
        "List the {x}.",
        "Make a list of the {x}.",
        "Give me a list for the {x}.",
        "I want a list of the {x}.",
        "A list, please: the {x}.",
        "Could you list the {x}?",
    ),
    "label": (
        "Label the {x}.",
        "Make a label for the {x}.",
        "Give me a label for the {x}.",
        "I want a label for the {x}.",
        "A label, please: the {x}.",
        "Could you label the {x}?",
    ),
    "pair": (
        "Pair the {x}.",
        "Make a pair of the {x}.",
        "Give me a pair for the {x}.",
        "I want a pair for the {x}.",
        "A pair, please: the {x}.",
        "Could you pair the {x}?",
    ),
    "field": (
        "Index the {x}.",
        "Make an index of the {x}.",
        "Give me an index for the {x}.",
        "I want an index for the {x}.",
        "An index, please: the {x}.",
        "Could you index the {x}?",
    ),
}
