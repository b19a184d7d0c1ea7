"""What the prompts are about: common things of six kinds, none of them in two lists."""

ANIMALS = """
otter badger heron falcon salmon lizard camel donkey rabbit beaver walrus turtle parrot eagle wolf tiger panda zebra
giraffe moose hedgehog squirrel sparrow penguin dolphin shark octopus crab lobster spider beetle ant bee moth frog toad
newt snake cobra gecko weasel ferret bison goat sheep hyena jackal llama koala kangaroo wombat lion leopard cheetah
jaguar puma lynx bear fox deer elk antelope gazelle buffalo cow pig horse pony mule yak rhino hippo elephant gorilla
chimpanzee baboon monkey lemur sloth armadillo anteater mole shrew mouse rat hamster gerbil chinchilla porcupine skunk
raccoon mongoose meerkat seal whale porpoise manatee crocodile alligator iguana chameleon python viper tortoise
salamander trout herring tuna cod eel pike carp sardine stingray jellyfish squid shrimp prawn snail slug worm butterfly
dragonfly mosquito wasp hornet cricket grasshopper termite ladybird scorpion owl hawk vulture raven crow magpie robin
swallow stork crane pelican flamingo ostrich emu peacock pheasant pigeon seagull woodpecker cuckoo canary
hummingbird albatross puffin
"""

PLANTS = """
rose tulip daisy lily orchid violet fern moss ivy oak maple birch pine cedar willow elm ash beech poplar spruce clover
thistle nettle lavender heather jasmine lotus poppy peony iris begonia cactus aloe bamboo reed papyrus magnolia holly
laurel myrtle juniper sequoia acacia mimosa marigold sunflower dandelion buttercup bluebell daffodil crocus snowdrop
hyacinth primrose pansy petunia geranium hydrangea azalea rhododendron camellia gardenia hibiscus honeysuckle wisteria
clematis lilac foxglove larkspur lupin delphinium snapdragon carnation chrysanthemum dahlia zinnia aster cornflower
forget-me-not gladiolus freesia amaryllis anemone gentian edelweiss mistletoe bracken horsetail bulrush cattail
duckweed water-lily mangrove eucalyptus baobab redwood cypress fir larch yew hemlock hawthorn blackthorn elder rowan
sycamore hornbeam alder aspen linden chestnut-tree walnut-tree palm-tree apple-tree cherry-tree olive-tree banyan ebony
teak mahogany balsa yucca agave jade-plant spider-plant rubber-plant snowberry privet boxwood barberry gorse broom-bush
periwinkle plantain-weed ragwort goldenrod milkweed yarrow chamomile comfrey borage bergamot valerian catnip
bindweed knotweed
"""

FOODS = """
bread cheese butter yogurt pasta risotto soup stew curry omelette pancake waffle muffin cookie cake pie tart pudding
custard jelly jam honey syrup salad sandwich burger pizza taco burrito noodle dumpling sushi paella kebab falafel
hummus pretzel bagel croissant scone biscuit cracker porridge granola lasagna gnocchi ravioli goulash chowder chili
rice flour sugar salt pepper vinegar mustard ketchup mayonnaise gravy salsa pesto ham bacon sausage steak meatball
meatloaf salami pate tofu egg milk cream cereal oatmeal toast roll baguette doughnut brownie cupcake cheesecake
gingerbread fudge toffee caramel chocolate marshmallow nougat marzipan candy popcorn peanut almond cashew pistachio
raisin date fig apple pear plum peach apricot grape banana orange lemon lime mango papaya pineapple melon coconut
strawberry raspberry blueberry blackberry tomato potato carrot onion garlic leek cabbage lettuce spinach broccoli
cauliflower celery cucumber pumpkin squash turnip radish beetroot pea bean lentil corn mushroom
"""

TOOLS = """
hammer chisel wrench pliers saw drill rasp file mallet anvil clamp level trowel shovel spade rake hoe axe hatchet scythe
sickle crowbar ladder pulley winch lathe vise awl punch plane scraper sander router jigsaw ruler compass caliper tongs
bellows sieve funnel ratchet spanner screwdriver grater ladle whisk spatula peeler pickaxe pitchfork wheelbarrow broom
mop bucket brush sponge duster plunger toolbox workbench nail screw bolt nut washer hinge bracket hook chain rope cable
wire string tape glue sandpaper paintbrush paint-roller putty-knife glue-gun staple-gun stapler scissors knife razor
shears secateurs lawnmower strimmer hose sprinkler watering-can tape-measure spirit-level set-square protractor
multimeter voltmeter soldering-iron blowtorch flashlight lantern headlamp torch battery charger generator compressor
jack tyre-iron pump oil-can grease-gun socket-wrench hacksaw bandsaw chainsaw handsaw fretsaw bradawl gimlet auger
crank lever wedge tripod easel stencil tweezers magnet magnifier microscope telescope thermometer stopwatch scale
can-opener corkscrew rolling-pin cleaver skewer tin-snips wire-cutter bolt-cutter nail-gun heat-gun
"""

NAMES = """
Anna Ben Clara David Emma Felix Grace Henry Ida Jack Karen Leo Maria Noah Olivia Paul Rachel Simon Tara Victor Wendy
Adam Beth Carl Diana Eric Fiona George Helen Ian Julia Kevin Laura Mark Nina Oscar Peter Rosa Sam Tina Alice Brian
Cathy Dennis Ellen Frank Gina Harold Irene James Kate Lewis Megan Nathan Paula Quentin Ruth Steven Theo Ursula Vera
William Yvonne Zoe Albert Bella Chris Doris Edward Flora Gordon Hannah Isaac Joan Keith Linda Martin Nora Owen Polly
Ralph Sarah Thomas Una Vincent Walter Agnes Bruno Cecil Donna Edgar Faye Gerald Hilda Ivan Judith Kurt Lydia Miles
Nancy Otto Penny Robert Stella Trevor Vivian Wilma Xavier Andrew Betty Colin Dorothy Elias Freda Gavin Heidi Igor
Jenny Kim Lena Marcus Naomi Oliver Philip Rita Stuart Tom Valerie Wanda Arthur Bridget Conrad Dora Ernest Greta Hugo
Ingrid Jonas Lucy
"""

PLACES = """
bakery library museum hospital theatre cinema hotel school florist butcher pharmacy restaurant cafe bank airport harbour
station stadium gym market supermarket bookshop tailor cobbler barber hairdresser laundry garage workshop factory
warehouse brewery winery vineyard farm dairy mill greenhouse zoo aquarium circus fairground park playground pool
sauna spa clinic dentist surgery courthouse embassy consulate ministry parliament town-hall post-office police-station
fire-station church mosque synagogue temple monastery chapel cathedral castle palace fortress lighthouse observatory
planetarium laboratory university college kindergarten nursery orphanage dormitory hostel motel inn tavern pub bar
nightclub casino arcade bowling-alley ice-rink golf-club tennis-club yacht-club boathouse marina ferry-terminal
bus-depot tram-depot taxi-office car-park petrol-station car-dealer bicycle-shop toy-shop shoe-shop hat-shop gift-shop
pet-shop fish-shop cheese-shop tea-shop sweet-shop wine-shop corner-shop hardware-shop music-shop record-shop
stationer jeweller watchmaker optician locksmith plumber printer publisher newsroom radio-station art-gallery
concert-hall opera-house ballroom campsite refuge embroiderer pottery sawmill quarry shipyard foundry glassworks
recycling-centre power-station water-works weather-station
"""
