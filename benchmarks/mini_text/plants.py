"""Plants: for each a name (and other forms of it), what it is, and one more sentence about it.

A name that begins with "~" takes no article. The first 50 are for training, the rest for the test.
Facts are common knowledge, the wording is our own.
"""

PLANTS = """
oak
is a strong tree that bears acorns and lives for centuries.
Its wood was once used for ships and barrels.

sunflower
is a tall plant with a large yellow head full of seeds.
Young heads turn to follow the sun.

cactus, cacti, cactuses
is a desert plant that keeps water in its thick stem.
Its spines are leaves that have changed.

~bamboo
is a fast-growing grass with hollow woody stems.
Some kinds rise almost a metre in a day.

~lavender
is a purple shrub that is loved for its calming scent.
Bees visit its flowers all summer.

fern
is a green plant that spreads by spores and never flowers.
Its young fronds are rolled up like a spring.

tulip
is a spring flower that grows from a bulb.
It came to Europe from Turkey.

maple
is a tree whose leaves turn red and gold in autumn.
Its sweet sap can be boiled into syrup.

~moss
is a soft and low plant that likes damp shade.
It has no true roots.

rose
is a thorny shrub with fragrant flowers.
Gardeners have bred thousands of kinds.

~mint
is a fresh-smelling herb that spreads quickly in moist soil.
Its leaves are used for tea and sauces.

pine
is an evergreen tree with needles and cones.
It grows well in poor and sandy ground.

orchid
is a plant with showy flowers that often grows on trees.
Vanilla comes from one of its kinds.

~ivy
is a climber that clings to walls with tiny roots.
Its berries ripen in winter and feed birds.

~basil
is a tender herb that gives pesto its taste.
It dies at the first touch of frost.

willow
is a tree with thin hanging branches that likes wet ground.
Baskets are woven from its shoots.

dandelion
is a yellow wild flower whose seeds fly away on the wind.
Its young leaves can be eaten as salad.

~rice
is a grass that feeds about half of all people.
It is mostly grown in flooded fields.

~cotton
is a shrub whose seeds are wrapped in soft white fibres.
The fibres are spun into thread.

birch, birches
is a slender tree with white bark that peels off.
It is among the first trees on bare land.

~thyme
is a low herb with tiny leaves and a strong smell.
Cooks add it to stews and roasts.

potato, potatoes
is a plant that stores starch in tubers under the ground.
It was first grown in the Andes.

apple tree
is a fruit tree with white and pink spring blossom.
Most kinds need a second kind nearby to set fruit.

~wheat
is a grass whose grain is milled into flour.
People have grown it for ten thousand years.

nettle
is a weed with hairs that sting the skin.
Butterflies lay their eggs on its leaves.

~clover
is a small meadow plant with leaves in three parts.
It brings nitrogen into the soil.

palm tree, palm, palms
is a tree of warm countries with a crown of large leaves.
Coconuts and dates grow on two of its kinds.

daffodil
is a yellow spring flower with a trumpet in the middle.
Its bulb is poisonous to most animals.

tomato, tomatoes
is a climbing plant grown for its juicy red fruit.
It needs plenty of sun and a stake.

beech, beeches
is a forest tree with smooth grey bark.
Its small nuts feed mice and boars.

water lily, lilies
is a pond plant with round leaves that float.
Its roots sit in the mud below.

~rosemary
is an evergreen herb with needle-like leaves.
It comes from the dry hills by the Mediterranean.

spruce
is a dark evergreen tree of cold forests.
Violins are built from its even wood.

poppy, poppies
is a red wild flower with paper-thin petals.
Its seeds can sleep in the soil for years.

aloe
is a fleshy plant with a cooling gel inside its leaves.
It needs water only now and then.

grapevine
is a climbing plant that bears bunches of grapes.
Growers cut it back hard every winter.

daisy, daisies
is a small white flower with a yellow centre.
It closes its petals in the evening.

~garlic
is a bulb plant with a sharp smell and taste.
It is planted in autumn and lifted in summer.

~heather
is a low purple shrub of moors and heaths.
Sheep and grouse feed on its shoots.

chestnut
is a broad tree with shiny brown nuts in prickly cases.
Roasted nuts are sold on winter streets.

~duckweed
is a tiny floating plant that covers ponds in green.
It doubles its numbers within days.

coffee plant
is a tropical shrub whose seeds are roasted for a drink.
It grows best on cool mountain slopes.

carrot
is a vegetable with a sweet orange root.
Wild ones have a thin and pale root.

~holly
is an evergreen shrub with prickly leaves and red berries.
Only female bushes carry the berries.

snowdrop
is a white flower that opens at the end of winter.
Ants help to spread its seeds.

reed
is a tall grass that grows at the edge of lakes.
Roofs are thatched with its dry stems.

pumpkin
is a trailing plant with large orange fruit.
Each plant has male and female flowers.

strawberry, strawberries
is a low plant with sweet red fruit.
It sends out runners that take root.

~seaweed
is a water plant that clings to rocks along the shore.
Some kinds are wrapped around sushi.

Venus flytrap
is a plant that catches insects with snapping leaves.
It lives in bogs where the soil is poor.

ginkgo, ginkgos, ginkgoes
is an ancient tree with leaves shaped like fans.
Its relatives all died out long ago.

~parsley
is a green herb that decorates and flavours many dishes.
It blooms only in its second year.

lilac
is a spring shrub with clusters of sweet-smelling flowers.
It can live for a hundred years in one garden.

redwood
is a giant tree of the coast of California.
Its thick bark protects it against fire.

onion
is a vegetable made of layers that makes people cry.
It was already grown in ancient Egypt.

crocus, crocuses
is a low flower that comes up in early spring.
Saffron is taken from one of its kinds.

hazel
is a bushy tree with edible nuts and yellow catkins.
Squirrels hide many of its nuts.

~barley
is a hardy grain used for soup and beer.
It ripens even in cold countries.

foxglove
is a tall poisonous plant with flowers like thimbles.
A heart medicine was first made from it.

cedar
is a large evergreen tree with fragrant wood.
Moths are said to stay away from it.

violet
is a small purple flower of shady woods.
Its petals can be candied for cakes.

~ginger
is a tropical plant with a hot and spicy root.
Its tea is a common remedy for an upset stomach.

juniper
is a prickly evergreen bush with blue berries.
The berries give gin its taste.

thistle
is a prickly wild plant with purple heads.
It is the emblem of Scotland.

mangrove
is a tree that stands in salt water on stilt roots.
Young fish find shelter between its roots.

marigold
is an orange garden flower that blooms until the frost.
Many growers set it between vegetables to keep pests away.
"""
