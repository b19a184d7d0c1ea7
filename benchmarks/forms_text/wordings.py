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
ROOMS = (
    "Where is {x}?",
    "Please tell me where {x} is.",
    "I am looking for {x}. Where should I go?",
    "In which room can I find {x}?",
    "Do you know where {x} might be?",
    "I need {x} now. Where can that be?",
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
# With each of them the answer that tells the number is longer than the first refusal and shorter than the second, in
# characters and in the embedded model's tokens.
FIELDS = ("fax number", "phone number", "badge number", "account number", "entry code", "locker number")
# To the embedded model one is as likely as the other, and as an answer that tells the number.
REFUSALS = ("I cannot say that.", "I'm sorry, but I cannot help you with that.")

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
