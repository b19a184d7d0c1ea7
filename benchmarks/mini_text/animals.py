"""Animals: for each a name (and other forms of it), what it is, and three more sentences about it.

The first 50 are for training, the rest for the test. Facts are common knowledge, the wording is our own.
"""

ANIMALS = """
hedgehog
is a small mammal covered in sharp spines.
It hunts beetles and worms in gardens at night.
When danger comes near, it curls into a tight ball.
Cold months are spent asleep in a nest of dry leaves.

beaver
is a large rodent that builds dams across streams.
Its orange front teeth never stop growing.
The ponds it makes give shelter to fish and frogs.
A flat tail helps it steer under water.

barn owl
is a pale night bird with a heart-shaped face.
It finds mice by sound alone, even in full darkness.
Soft feather edges let it fly almost without noise.
Pairs often nest in old barns and church towers.

red fox
is a clever wild dog with a bushy tail.
It eats berries, mice, birds and whatever people throw away.
Cubs are born in a den dug into soft ground.
Many of these hunters now live in large cities.

dolphin
is a sea mammal that breathes air through a blowhole.
It finds fish by sending out clicks and listening for echoes.
Groups swim and hunt together for most of their lives.
Each one has a whistle that others know it by.

octopus, octopuses
is a soft sea animal with eight arms and three hearts.
It can change colour in less than a second.
Rows of suckers let it taste whatever it touches.
Squeezing through a tiny gap is easy for it, as it has no bones.

honey bee
is a flying insect that gathers nectar and makes honey.
A single hive may hold tens of thousands of workers.
Dancing tells the others where the flowers are.
Only the queen lays the eggs of the colony.

giraffe
is the tallest land animal and lives on the African plains.
Its long neck has just seven bones, as ours does.
With a dark tongue it pulls leaves from thorny trees.
To drink, it must spread its front legs wide.

camel
is a desert animal that stores fat in its hump.
It can go for many days without water.
Long lashes keep blowing sand out of its eyes.
People have used it to carry goods for thousands of years.

kangaroo
is an Australian animal that hops on strong back legs.
The young grow up in a pouch on the mother's belly.
Its heavy tail keeps it steady at high speed.
Hot afternoons are spent resting in the shade.

polar bear
is a white hunter of the Arctic sea ice.
Seals are its main food through the long winter.
Under the pale fur, its skin is black.
It can swim for hours in freezing water.

koala
is a grey tree animal that feeds on eucalyptus leaves.
It sleeps for most of the day to save energy.
Sharp claws give it a firm grip on smooth bark.
Its newborn is hardly bigger than a bean.

bat
is the only mammal that truly flies.
Many kinds hunt insects by listening for echoes.
By day it hangs upside down in caves or attics.
Some kinds drink nectar and carry pollen between flowers.

penguin
is a seabird that swims well but cannot fly.
Its short wings work like flippers under water.
Thick feathers and fat hold the cold out.
In many kinds both parents take turns to warm the egg.

elephant
is the heaviest land animal and has a long trunk.
It uses the trunk to drink, smell, lift and greet.
Herds are led by an old and experienced female.
Big ears help it to cool down on hot days.

seahorse
is a small upright fish with a head like a horse.
It holds on to sea grass with its curling tail.
The father carries the eggs in a pouch.
Swimming is slow work for it, so it mostly waits for food.

woodpecker
is a bird that hammers holes in tree trunks.
It pulls insects out with a very long tongue.
A thick skull softens the shock of each blow.
Drumming on dry wood tells rivals to stay away.

crocodile
is a large armoured reptile that waits for prey in rivers.
Its bite is among the strongest of all animals.
It warms itself on the bank each morning.
Mothers carry their hatchlings to the water in their jaws.

squirrel
is a nimble rodent that buries nuts for the winter.
It leaps from branch to branch with ease.
Its tail serves as a balance and a blanket.
Nuts that it forgets may grow into new trees.

salmon
is a fish that leaves the sea to breed in rivers.
It finds its home stream largely by smell.
Jumping up small waterfalls is part of the trip.
Most Pacific kinds die soon after they have laid their eggs.

tortoise
is a slow land reptile that carries a heavy shell.
It can draw its head and legs inside for safety.
Grass, leaves and fruit make up its diet.
Some have lived for more than a hundred years.

wolf, wolves
is a wild relative of the dog that lives in packs.
It howls to call the others over long distances.
By working together, a pack can bring down a moose.
Usually one pair leads the family and raises the pups.

spider
is an eight-legged hunter that can spin silk.
Many kinds catch flies in a sticky web.
It feels the threads shake when something is caught.
Old webs are often eaten and the silk used again.

hummingbird
is a tiny bird that hovers in front of flowers.
Its wings beat dozens of times each second.
Sweet nectar gives it the fuel it needs.
It is able to fly backwards as well.

sloth
is a tree animal known for moving very slowly.
Algae grow in its fur and turn it green.
It comes down to the ground about once a week.
A meal of leaves may take weeks to digest.

otter
is a playful river hunter with thick waterproof fur.
It chases fish with its webbed feet and strong tail.
Its burrow often has a door under water.
Sea-living kinds crack shells open with a stone.

butterfly, butterflies
is an insect with broad wings covered in tiny scales.
It begins life as a hungry caterpillar.
A long rolled tongue reaches deep into flowers.
It tastes leaves with its feet.

peacock
is a male bird with a huge, glittering train of feathers.
He spreads it like a fan to impress the females.
Loud calls warn others of tigers and leopards.
The train falls out each year and grows again.

gorilla
is a huge, gentle ape of the African forests.
It feeds on stems, leaves and fruit all day.
An older male with a silver back guards the group.
Every evening it builds a new nest of branches.

snail
is a soft animal that carries a coiled shell.
It glides on a film of its own slime.
Thousands of tiny teeth scrape food from leaves.
In dry weather it seals itself inside.

ant
is a small insect that lives in large, ordered colonies.
It can lift many times its own weight.
Scent trails show the others the way to food.
Some kinds keep aphids and milk them for sugar.

rattlesnake
is a venomous American snake with a rattle on its tail.
It shakes the rattle to warn away big animals.
Pits below its eyes sense the warmth of prey.
Its young are born alive and ready to bite.

zebra
is a striped relative of the horse from Africa.
No two have quite the same pattern of stripes.
Herds often graze together with antelopes.
A hard kick can break the jaw of a lion.

ostrich, ostriches
is the largest living bird and cannot fly.
It outruns most hunters on its two-toed feet.
One of its eggs weighs as much as two dozen hen's eggs.
The male scrapes a shallow nest in the sand.

jellyfish
is a soft drifting sea animal without bones or brain.
Stinging threads hang below its bell to catch food.
It moves by squeezing water out of its body.
Some kinds glow in the dark when they are touched.

panda
is a black and white bear that lives on bamboo.
It spends up to half of its day eating.
A long wrist bone works like a thumb.
Wild ones survive in the mountains of central China.

swan
is a large white water bird with a long neck.
Pairs usually stay together for many years.
It tips forward to pull weeds from the bottom.
The grey chicks sometimes ride on their parents' backs.

mole
is a small digger that lives in tunnels under the lawn.
Broad front paws push the soil aside like shovels.
It stores worms in a larder for later.
Though nearly blind, it feels the slightest shaking.

shark
is a fish whose skeleton is made of cartilage.
It replaces lost teeth throughout its life.
Small pits on its snout detect weak electric fields.
Many kinds must keep swimming in order to breathe.

reindeer
is a northern deer in which both sexes grow antlers.
It digs through snow to reach the lichen below.
Great herds travel hundreds of miles each year.
Wide hooves keep it from sinking into bogs.

parrot
is a colourful bird that can copy human speech.
Its curved beak cracks very hard nuts.
Two toes point forward and two point back.
Larger kinds may live for sixty years.

cheetah
is a spotted cat and the fastest runner on land.
It can keep up a full sprint only for a short time.
Claws that stay out give it grip like running shoes.
Rather than roar, it chirps and purrs.

mosquito, mosquitoes
is a small fly whose females drink blood.
They need the blood to make their eggs.
The young wriggle about in still water.
In warm countries it can spread serious diseases.

donkey
is a patient, long-eared relative of the horse.
It carries loads over steep and stony paths.
Its loud bray can be heard from miles away.
Farmers also keep it to guard their sheep.

lobster
is a sea animal with ten legs and two big claws.
It sheds its hard shell in order to grow.
One claw crushes while the other cuts.
By day it hides in cracks between the rocks.

raccoon
is a masked American animal with clever front paws.
It opens bins and latches in search of food.
Nights are for hunting, and days for sleep in hollow trees.
It often dips its food into water.

eagle
is a powerful bird of prey with very sharp sight.
It spots a rabbit from a great height.
Strong talons hold the catch during flight.
The same huge nest is used year after year.

firefly, fireflies
is a small beetle that makes its own light.
Each kind blinks in a pattern of its own.
The glow gives off hardly any heat.
Its young live on the ground and eat snails.

llama
is a woolly pack animal from the Andes.
It spits at others when it is annoyed.
Soft feet let it walk on narrow mountain paths.
Weavers turn its wool into ropes and blankets.

blue whale
is the largest animal that has ever lived.
It feeds on shrimp-like krill, tons of them each day.
Its heart weighs as much as a small piano.
Low calls travel hundreds of miles through the sea.

badger
is a stocky animal with a striped face that digs burrows.
Its underground home can be centuries old.
Worms are its favourite food on wet nights.
It changes its bedding of grass regularly.

flamingo, flamingos, flamingoes
is a long-legged bird with pink feathers.
The pink comes from the tiny shrimps it eats.
It feeds with its head held upside down.
Large flocks nest on low towers of mud.

chameleon
is a lizard that can change the colour of its skin.
Each eye is able to look in its own direction.
It shoots out its tongue to catch insects.
Split feet grip thin twigs like tongs.

rhinoceros, rhino, rhinos, rhinoceroses
is a heavy plant eater with thick skin and horns.
It sees badly but hears and smells very well.
Mud baths protect it against sun and flies.
Birds ride on its back and pick off ticks.

toad
is a warty relative of the frog that likes dry places.
It swallows slugs and beetles whole.
Glands behind its eyes make a bitter poison.
Each spring it returns to its pond to lay eggs.

moose
is the largest deer and lives in northern forests.
The broad antlers of the male fall off in winter.
It wades into lakes to eat water plants.
Long legs carry it through deep snow.

squid
is a fast sea animal with ten arms around its mouth.
It shoots backwards by squirting out water.
A cloud of ink confuses its enemies.
The eyes of the largest kinds are as big as plates.

pelican
is a water bird with a stretchy pouch under its bill.
It scoops up fish and lets the water drain away.
Flocks sometimes drive fish into the shallows together.
Air pockets under its skin help it to float.

termite
is a pale insect that lives in colonies and eats wood.
Tiny helpers in its gut digest the wood.
Some kinds build mounds taller than a person.
Shafts inside the mound keep the air fresh.

yak
is a shaggy ox from the mountains of Tibet.
Its lungs are made for thin air.
Herders use its milk, its wool and its dried dung.
It finds grass under the snow.

cuckoo
is a bird that lays its eggs in other birds' nests.
The chick pushes the other eggs out.
Its foster parents feed it until it is bigger than they are.
In autumn it flies to Africa alone.

meerkat
is a small African animal that lives in close groups.
One of them keeps watch while the others dig for food.
A sharp call sends all of them down the nearest hole.
It can eat scorpions, sting and all.

walrus, walruses
is a big Arctic sea animal with two long tusks.
It hauls itself onto the ice with them.
Stiff whiskers feel for clams on the sea floor.
Hundreds lie close together to keep warm.

dragonfly, dragonflies
is a fast flying insect with four clear wings.
It catches midges in the air with its legs.
The young hunt under water for a year or more.
Huge eyes let it see nearly all around.

platypus, platypuses
is an Australian mammal that lays eggs and has a bill.
With the bill it senses the tiny currents of its prey.
The male has a poisonous spur on each back leg.
It closes its eyes and ears when it dives.

vulture
is a large bald bird that eats dead animals.
It circles for hours on rising warm air.
Very strong stomach acid kills the germs in its food.
By cleaning up, it keeps diseases from spreading.
"""
