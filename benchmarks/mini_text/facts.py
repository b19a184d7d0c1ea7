"""Small worlds for grounded questions: who or what, and one value for each.

FAMILIES: name -> (entities, values, statement, question for the value, question for the entity).
In a statement and in the questions {e} is the entity and {v} the value. The families named in
TEST_ONLY never occur in training.
"""

PEOPLE = [
    "Mara", "Tom", "Aisha", "Ben", "Lucia", "Omar", "Ingrid", "Paul",
    "Mei", "Victor", "Nadia", "Sam", "Rosa", "Henrik", "Priya", "Jonas",
]  # fmt: skip
PLACES = [
    "the library",
    "the pool",
    "the museum",
    "the bakery",
    "the bank",
    "the zoo",
    "the cafe",
    "the post office",
]
HOURS = ["seven", "eight", "nine", "ten", "eleven", "noon"]

Family = tuple[list[str], list[str], str, str, str]

FAMILIES: dict[str, Family] = {
    "opens": (PLACES, HOURS, "{e} opens at {v}", "When does {e} open?", "What opens at {v}?"),
    "closes": (
        PLACES,
        ["two", "three", "four", "five", "six"],
        "{e} closes at {v}",
        "At what time does {e} close?",
        "Which place closes at {v}?",
    ),
    "colour": (
        ["the door", "the bench", "the kite", "the boat", "the lamp", "the bucket", "the scarf", "the van"],
        ["red", "blue", "green", "yellow", "white", "purple", "grey"],
        "{e} is {v}",
        "What colour is {e}?",
        "Which thing is {v}?",
    ),
    "pet": (
        PEOPLE,
        ["a cat", "a parrot", "a rabbit", "a goldfish", "a hamster", "a lizard", "a puppy"],
        "{e} has {v}",
        "What pet does {e} have?",
        "Who has {v}?",
    ),
    "instrument": (
        PEOPLE,
        ["the violin", "the drums", "the flute", "the piano", "the harp", "the trumpet", "the guitar"],
        "{e} plays {v}",
        "What does {e} play?",
        "Who plays {v}?",
    ),
    "floor": (
        PEOPLE,
        ["the first floor", "the second floor", "the third floor", "the fourth floor", "the top floor"],
        "{e} lives on {v}",
        "Where does {e} live?",
        "Who lives on {v}?",
    ),
    "platform": (
        [
            "the train to Oslo",
            "the train to Rome",
            "the train to Paris",
            "the train to Vienna",
            "the train to Bern",
        ],
        ["platform one", "platform two", "platform three", "platform six", "platform nine"],
        "{e} leaves from {v}",
        "Where does {e} leave from?",
        "Which train leaves from {v}?",
    ),
    "picnic": (
        PEOPLE,
        ["bread", "grapes", "lemonade", "cheese", "salad", "cookies", "melons"],
        "{e} brings {v}",
        "What does {e} bring?",
        "Who brings {v}?",
    ),
    "lesson": (
        ["chess class", "dance class", "Spanish class", "pottery class", "choir practice", "judo training"],
        ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"],
        "{e} is on {v}",
        "On which day is {e}?",
        "What is on {v}?",
    ),
    "price": (
        ["the soup", "the sandwich", "the juice", "the cake", "the pizza", "the tea"],
        ["two euros", "three euros", "four euros", "five euros", "eight euros", "nine euros"],
        "{e} costs {v}",
        "How much does {e} cost?",
        "What costs {v}?",
    ),
    "job": (
        PEOPLE,
        ["a nurse", "a pilot", "a baker", "a lawyer", "a farmer", "a plumber", "a teacher"],
        "{e} is {v}",
        "What is the job of {e}?",
        "Who is {v}?",
    ),
    "trip": (
        PEOPLE,
        ["Cairo", "Lima", "Tokyo", "Berlin", "Nairobi", "Dublin", "Athens"],
        "{e} flies to {v}",
        "Where does {e} fly to?",
        "Who flies to {v}?",
    ),
    "holds": (
        [
            "the first box",
            "the second box",
            "the small box",
            "the large box",
            "the old box",
            "the wooden box",
        ],
        ["buttons", "candles", "coins", "letters", "marbles", "shells"],
        "{e} holds {v}",
        "What does {e} hold?",
        "Which box holds {v}?",
    ),
    "age": (
        PEOPLE,
        ["six", "eight", "nine", "eleven", "twelve", "fifteen"],
        "{e} is {v} years old",
        "How old is {e}?",
        "Who is {v} years old?",
    ),
    "drink": (
        PEOPLE,
        ["coffee", "green tea", "milk", "cocoa", "water", "apple juice"],
        "{e} drinks {v}",
        "What does {e} drink?",
        "Who drinks {v}?",
    ),
    "shelf": (
        ["the atlas", "the cookbook", "the novel", "the dictionary", "the diary", "the comic"],
        ["the top shelf", "the bottom shelf", "the desk", "the floor", "the windowsill", "the piano"],
        "{e} is on {v}",
        "Where is {e}?",
        "Which book is on {v}?",
    ),
    "sport": (
        PEOPLE,
        ["tennis", "hockey", "football", "rugby", "golf", "badminton"],
        "{e} likes {v}",
        "Which sport does {e} like?",
        "Who likes {v}?",
    ),
    "grows": (
        ["the north field", "the south field", "the east field", "the west field", "the hill field"],
        ["maize", "beans", "oats", "peas", "cabbage", "flax"],
        "{e} grows {v}",
        "What does {e} grow?",
        "Which field grows {v}?",
    ),
    "length": (
        ["the rope", "the shelf board", "the carpet", "the chain", "the pipe", "the fence"],
        ["two metres", "three metres", "five metres", "six metres", "nine metres", "ten metres"],
        "{e} is {v} long",
        "How long is {e}?",
        "What is {v} long?",
    ),
    "material": (
        ["the bowl", "the spoon", "the cup", "the tray", "the vase", "the statue"],
        ["glass", "copper", "clay", "silver", "bronze", "stone"],
        "{e} is made of {v}",
        "What is {e} made of?",
        "What is made of {v}?",
    ),
    "wears": (
        PEOPLE,
        ["a hat", "a helmet", "a raincoat", "a bow tie", "a crown", "a jumper"],
        "{e} wears {v}",
        "What does {e} wear?",
        "Who wears {v}?",
    ),
    "dish": (
        PEOPLE,
        ["pancakes", "noodles", "curry", "dumplings", "stew", "omelettes"],
        "{e} cooks {v}",
        "What does {e} cook?",
        "Who cooks {v}?",
    ),
    "key": (
        ["the brass key", "the iron key", "the tiny key", "the long key", "the bent key"],
        ["the cellar", "the garage", "the attic", "the gate", "the safe", "the shed"],
        "{e} opens {v}",
        "What does {e} open?",
        "Which key opens {v}?",
    ),
    "room": (
        [
            "the maths lesson",
            "the art lesson",
            "the history lesson",
            "the music lesson",
            "the physics lesson",
        ],
        ["room four", "room seven", "room twelve", "room twenty", "room thirty"],
        "{e} takes place in {v}",
        "Where does {e} take place?",
        "Which lesson takes place in {v}?",
    ),
    "weather": (
        ["the coast", "the valley", "the north", "the island", "the capital", "the desert"],
        ["fog", "rain", "snow", "sunshine", "hail", "strong wind"],
        "{e} expects {v}",
        "What weather does {e} expect?",
        "Which region expects {v}?",
    ),
    "repairs": (
        PEOPLE,
        ["clocks", "bicycles", "shoes", "radios", "roofs", "pianos"],
        "{e} repairs {v}",
        "What does {e} repair?",
        "Who repairs {v}?",
    ),
    "guards": (
        ["the dragon", "the giant", "the troll", "the knight", "the sphinx", "the old witch"],
        ["the bridge", "the tower", "the treasure", "the forest", "the well", "the cave"],
        "{e} guards {v}",
        "What does {e} guard?",
        "Who guards {v}?",
    ),
    "birthday": (
        PEOPLE,
        ["March", "April", "June", "August", "October", "December"],
        "{e} was born in {v}",
        "In which month was {e} born?",
        "Who was born in {v}?",
    ),
}

TEST_ONLY = ("weather", "repairs", "guards", "birthday")

# {s1} and {s2} are the statements, {q} is the question.
TRAIN_LAYOUTS = (
    "Note: {s1} and {s2}. {q}",
    "{S1}. {S2}. {q}",
    "We know that {s1} and that {s2}. {q}",
    "{S1}, while {s2}. {q}",
)
TEST_LAYOUTS = (
    "{S1}, but {s2}. {q}",
    "Please answer from this note: {s1}, and {s2}. {q}",
    "{S1}. {S2}. {q}",
    "Somebody told me that {s1} and that {s2}. {q}",
)
