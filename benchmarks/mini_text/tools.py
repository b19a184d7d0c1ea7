"""Tools: for each a name (and other forms of it), what it is, and three more sentences about it.

A name that begins with "~" takes no article. The first 50 are for training, the rest for the test.
Facts are common knowledge, the wording is our own.
"""

TOOLS = """
hammer
is a hand tool with a heavy head for driving nails.
Hold the handle near its end to swing with more force.
The claw on the back pulls bent nails out again.
Wear glasses so that chips cannot hit your eyes.

hand saw
is a toothed blade that cuts wood by pulling and pushing.
Start with a few short strokes to make a groove.
Long and calm movements give the straightest cut.
A drop of oil now and then keeps rust away.

screwdriver
is a tool that turns screws in and out.
Its tip has to fit the slot of the screw.
Push down firmly while you turn the handle.
Magnetic tips make it easier to hold small screws.

wrench, wrenches
is a tool that grips and turns nuts and bolts.
A longer handle gives more turning force.
Choose the size that fits without any play.
Pull it towards you rather than pushing it away.

chisel
is a steel blade for shaping wood or stone.
Tap its end with a mallet to drive it forward.
Thin shavings are safer than thick ones.
Sharpen the edge often on a wet stone.

tape measure
is a flexible ruler that rolls up inside a case.
Its hook moves a little so that inside and outside readings agree.
A small lock holds the blade while you mark.
Let it roll back slowly to spare the spring.

spirit level
is a bar that shows whether a surface is even.
A bubble in a tube moves towards the higher side.
Turn it round and read again to check it.
Longer models give a truer reading on walls.

pair of pliers, pliers
is a tool with jaws for gripping, bending and pulling.
Two crossed handles multiply the force of your hand.
Many models can also cut thin wire.
Rubber grips keep it from slipping when it is wet.

cordless drill
is a motor tool that bores holes in wood, metal or walls.
Pick a bit that matches the material.
Begin at low speed so the point does not wander.
Clear the dust from deep holes as you go.

~sandpaper
is a sheet of paper covered with sharp grains.
A low number means coarse, a high number fine.
Work along the grain of the wood.
Finish with a fine sheet before you paint.

paintbrush, paintbrushes
is a handle with bristles that spreads paint.
Dip only a third of the bristles into the tin.
Brush out in long strokes and lift off gently.
Wash it at once, before the paint dries.

trowel
is a small flat blade for spreading mortar or lifting soil.
Builders smooth plaster with it in wide curves.
Gardeners like the pointed kind for planting bulbs.
Clean off the mortar before it sets.

garden rake
is a long pole with a row of teeth at the end.
It gathers leaves and levels loose soil.
Pull it lightly so that the grass stays rooted.
Never leave it lying with the teeth up.

spade
is a flat-bladed digging tool with a long handle.
Step on the top edge to push it into the ground.
A sharp blade cuts roots and heavy clay.
Let your legs rather than your back do the lifting.

wheelbarrow
is a small cart with one wheel and two handles.
The load rests mostly over the wheel.
Keep your back straight when you lift the handles.
Pump up the tyre for an easier push.

axe, axes
is a wedge-shaped blade on a handle for splitting wood.
Aim for the cracks that are already in the log.
Stand with your feet well apart.
Keep a cover on the blade when you carry it.

pair of scissors, scissors
is a cutting tool with two blades that slide past each other.
Cutting close to the joint gives more force.
Fabric needs a sharp pair that never touches paper.
Left-handed people should look for a mirrored model.

stapler
is a device that binds sheets with small metal clips.
Pressing the top bends the legs against a plate.
Too many pages will make the clip buckle.
Refill it by opening the tray at the back.

soldering iron
is a hot-tipped tool that joins metal parts with solder.
Heat the joint first and then add the solder.
Wipe the tip on a damp sponge.
Work near an open window because of the fumes.

clamp
is a tool that holds pieces firmly together.
A screw brings the two jaws closer.
Put scraps of wood between to avoid dents.
Leave it in place until the glue is hard.

ladder
is a set of steps between two long rails.
Place its foot one step out for every four steps up.
Have somebody hold it on soft ground.
Climb no higher than the third step from the top.

crowbar
is an iron bar for prying things apart.
It works as a lever with a very short end.
A block beneath it protects the wall.
The split end catches the heads of nails.

wood plane
is a tool that shaves thin layers off boards.
Set the blade so that it hardly shows.
Push it with the grain in one steady pass.
Lay it on its side when you pause.

metal file
is a rough steel bar that smooths edges.
It cuts only on the forward stroke.
Brush the dust out of the teeth regularly.
Coarse ones shape and fine ones finish.

utility knife, knives
is a handle with a short and very sharp blade.
Cut away from your body along a metal ruler.
Several light passes are safer than a single deep one.
Slide the blade in after each use.

Allen key
is an L-shaped bar that turns screws with a six-sided hole.
The long arm reaches in and the short arm gives force.
Sizes come in sets, often on a ring.
Furniture in flat boxes usually needs one.

hacksaw
is a fine-toothed saw for cutting metal.
Its blade is stretched tightly in a frame.
The teeth should point away from the handle.
Slow strokes keep the blade from overheating.

mallet
is a hammer with a soft head of wood or rubber.
It drives parts together without leaving marks.
Campers knock tent pegs into the ground with it.
Strike with the flat face and not the edge.

glue gun
is an electric tool that melts sticks of glue.
Wait a few minutes until it is hot.
Press the parts together at once, for the glue sets fast.
Keep fingers away from the metal nozzle.

multimeter
is a device that measures voltage, current and resistance.
Turn the dial to the range you expect.
Touch both probes to the points you test.
Its beep tells you that a wire is unbroken.

watering can
is a container with a long spout for wetting plants.
A sprinkling head makes the stream gentle.
Early morning is the best time to pour.
Empty it before the frost comes.

pair of garden shears, shears
is a strong cutter for thin branches.
Make the cut just above a bud.
Wipe the blades between plants to stop disease.
A spring opens it again after each squeeze.

garden hose
is a long tube that carries water across the yard.
Nozzles turn the flow into a jet or a mist.
Kinks are the usual reason for weak pressure.
Roll it up in the shade to make it last.

broom
is a brush on a long stick for sweeping floors.
Sweep from the walls towards the middle.
Stiff bristles suit stone and soft ones suit wood.
Hang it up so the bristles keep their shape.

mop
is a bundle of cords on a stick for washing floors.
Wring it well before you start.
Work backwards to the door to leave no footprints.
Dry it in the open air after use.

plunger
is a rubber cup on a stick that clears blocked drains.
Water should cover the whole cup.
Pump up and down without breaking the seal.
Rinse it with hot water afterwards.

pipe cutter
is a tool that cuts copper tubes cleanly.
A small wheel bites deeper with every turn.
Tighten the knob a little after each round.
Remove the sharp rim inside with a scraper.

caulking gun
is a frame that squeezes sealant out of a tube.
Cut the nozzle at a slant.
Pull the trigger evenly while you move along.
Release the rod to stop the flow.

paint roller
is a fluffy sleeve that rolls paint onto walls.
Load it in a tray and roll off the excess.
Paint in the shape of a W and then fill it in.
Wrap it in foil for short breaks.

workbench, workbenches
is a sturdy table for building and fixing things.
A vice at the edge holds the work.
Its height should match your hip.
Bolt it to the wall if it wobbles.

flashlight
is a hand lamp that runs on batteries.
LEDs make it bright and save power.
Test it twice a year in case of a blackout.
Take out the cells before you store it for long.

compass, compasses
is a needle that turns to point north.
Keep it flat and away from iron.
Line up the map with the needle before you walk.
The ring around it is divided into degrees.

microscope
is an instrument that makes tiny things look large.
Begin with the weakest lens and move up.
Focus away from the slide to avoid breaking it.
A thin slice lets the light shine through.

kitchen scale
is a device that weighs ingredients.
Put the bowl on first and press zero.
Bakers trust it more than cups or spoons.
Old batteries can make the numbers drift.

whisk
is a loop of wires for beating air into food.
Tilt the bowl and move your wrist in circles.
Cold cream thickens faster than warm cream.
Balloon shapes suit egg whites best.

rolling pin
is a smooth cylinder that flattens dough.
Dust it with flour so that nothing sticks.
Roll from the middle out and turn the dough.
Wooden ones should never soak in water.

vegetable peeler
is a swivelling blade that takes off thin skin.
It follows the curve of a potato by itself.
Peel away from your fingers in long strips.
The pointed end digs out the eyes.

can opener
is a tool that cuts the lid off a tin.
A toothed wheel carries it along the rim.
Turn the key until the circle is complete.
Watch out for the sharp edge of the lid.

stethoscope
is a tube for listening to the heart and lungs.
The flat disc picks up the sounds.
Its ear pieces should point slightly forward.
Doctors clean it between two patients.

bicycle pump
is a tube with a piston that pushes air into tyres.
Make sure that the valve type matches.
The right pressure is printed on the tyre.
Floor models have a gauge and need less effort.

shovel
is a scoop on a long handle for moving loose material.
Slide the blade in low and flat.
Turn with your feet instead of twisting your back.
A light coat of wax keeps wet snow from sticking.

jigsaw
is an electric saw with a narrow blade for curves.
Let the blade reach full speed before it touches the wood.
Cut with the good side of the board facing down.
Change the blade when it begins to burn.

staple gun
is a tool that shoots metal clips into wood.
Hold the nose flat against the surface.
Upholsterers fix fabric to chairs with it.
Lock the trigger before you put it down.

hand drill
is a crank-driven tool that bores small holes.
Turn the handle at an even pace.
It needs no power and makes little noise.
Mark the spot with a nail first.

bolt cutter
is a pair of long arms with short and hard jaws.
The joints multiply your force many times.
Place the metal deep inside the jaws.
Wear gloves, since the ends may fly off.

pickaxe, pickaxes
is a heavy bar with a point and a flat end.
It breaks up stony or frozen ground.
Let the weight do the work as it falls.
Check that the head sits tight on the shaft.

hoe
is a thin blade at a right angle to a long handle.
It slices weeds off just below the surface.
Use it on dry days so that they wither.
Farmers also draw furrows for seeds with it.

vice, vices
is a pair of jaws that is fixed to a bench.
A long screw presses the jaws together.
Soft covers keep it from scratching the work.
Grease the screw once a year.

funnel
is a cone with a tube for pouring into small openings.
Lift it slightly so that air can get out.
Wide ones are good for grain and powder.
Keep a separate one for oil and fuel.

magnifying glass
is a curved lens on a handle that enlarges things.
Move it slowly until the picture is sharp.
Stamp collectors check fine details with it.
Do not leave it in the sun, as it may start a fire.

pair of tweezers, tweezers
is a tool with thin arms for holding tiny objects.
Squeeze gently so that nothing slips away.
Slanted tips are best for splinters.
Clean the points with alcohol before use.

grater
is a metal sheet with many small sharp holes.
Rub cheese or carrots down its face.
Small holes make powder and large ones make strips.
Stop early enough to save your fingertips.

thermometer
is an instrument that shows how hot or cold something is.
Most digital ones sense heat with a tiny resistor.
Hang it in the shade to read the air.
Wait until the number no longer changes.

toolbox, toolboxes
is a case with a handle for carrying tools.
Heavy things belong at the bottom.
Trays on top keep screws and bits in order.
Write your name inside before you lend it.

sewing machine
is a device that stitches cloth with two threads.
The upper thread loops around the one from the bobbin.
Guide the cloth but do not pull it.
Change the needle after every large project.

stud finder
is a sensor that locates beams behind a wall.
Slide it sideways with light pressure.
Mark both edges and drill between them.
Some models also warn of live wires.
"""
