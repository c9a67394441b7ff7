"""Who and what the story world is made of: names, animals, grown-ups, things, settings with their
places and hiding spots. Words that a child of five knows."""

GIRLS = """Mia Lily Anna Rosie Ella Lucy Nora Zara Ivy Ruby Maya Tess Hana Poppy Clara Amina Daisy
Sofia June Leila Molly Kiki Wren Bea Freya Nina Pearl Suki Greta Holly""".split()
BOYS = """Tom Ben Leo Sam Max Finn Omar Theo Jack Noah Kofi Milo Eli Hugo Ravi Oscar Jonah Luca Ned
Arlo Felix Toby Kenji Otto Rory Jasper Emil Billy Dan Gus""".split()
ANIMAL_NAMES_SHE = """Dot Pip Nutmeg Hazel Bluebell Tansy Mimi Clover Puff Dilly Olive Twig Plum
Bonnie Posy Fern Minty Bramble""".split()
ANIMAL_NAMES_HE = """Bruno Thistle Rusty Bean Moss Chip Oakley Pebble Dusty Waffle Tuft Barley Fig
Hopper Benji Acorn Muffin Bumble""".split()

CHILD_TRAITS = ["little", "brave", "quiet", "curious", "cheerful", "kind", "shy", "busy", "clever"]
ANIMAL_TRAITS = ["small", "gentle", "hungry", "sleepy", "young", "friendly", "shy", "merry", "clumsy",
                 "gray", "brown", "plump", "tiny"]

COLORS = ["red", "blue", "yellow", "green", "white", "purple", "orange", "pink", "brown", "black"]
# noun: what may be said of it beside its color.
THINGS = {
    "ball": ["bouncy", "shiny"], "kite": ["paper", "long"], "hat": ["woolly", "straw"],
    "scarf": ["long", "soft"], "bucket": ["tin", "old"], "basket": ["round", "little"],
    "whistle": ["tin", "silver"], "drum": ["little", "tin"], "bell": ["brass", "silver"],
    "lantern": ["old", "brass"], "boat": ["toy", "paper"], "spoon": ["wooden", "silver"],
    "cup": ["tin", "little"], "blanket": ["soft", "warm"], "book": ["old", "big"],
    "key": ["golden", "rusty"], "coin": ["golden", "silver"], "button": ["wooden", "shiny"],
    "feather": ["long", "soft"], "shell": ["round", "shiny"], "ribbon": ["silk", "long"],
    "box": ["wooden", "tin"], "marble": ["glass", "striped"], "mitten": ["woolly", "warm"],
    "rope": ["long", "strong"], "map": ["old", "torn"], "umbrella": ["big", "striped"],
    "puppet": ["wooden", "funny"], "top": ["wooden", "spinning"], "flute": ["wooden", "little"],
    "pillow": ["soft", "striped"], "jar": ["glass", "round"], "brush": ["big", "soft"],
    "crown": ["paper", "golden"], "wagon": ["wooden", "little"], "pencil": ["short", "long"],
    "teapot": ["little", "round"], "ladder": ["short", "wooden"], "mirror": ["round", "little"],
    "cap": ["striped", "soft"],
}
GROWN_UPS = [("Grandma", "grandma", "she"), ("Grandpa", "grandpa", "he"), ("Aunt Rose", "aunt", "she"),
             ("Uncle Will", "uncle", "he"), ("the baker", "baker", "he"), ("the farmer", "farmer", "she"),
             ("Mrs. Bell", "neighbor", "she"), ("Mr. Reed", "neighbor", "he"),
             ("the gardener", "gardener", "he"), ("Miss Lane", "teacher", "she")]

INDOORS = {"in the barn", "in the farm kitchen", "in the hen house", "in the cave", "in the lighthouse",
           "in the boat shed", "at the bakery", "at the mill", "in the attic", "in the kitchen",
           "in the bedroom", "in the library", "in the cellar", "in the log cabin", "in the stable",
           "in the village hall"}
# setting: ([animals], {place: [spots]}). A place reads "in the barn", "to the barn".
SETTINGS = {
    "on a small farm": (
        ["goat", "duck", "hen", "lamb", "pony", "cat", "dog", "goose", "calf", "pig"],
        {"in the barn": ["under the hay", "behind the old plow", "on top of the feed box"],
         "at the duck pond": ["under the flat stone", "between the reeds", "beside the wooden dock"],
         "in the orchard": ["in the hollow apple tree", "under the ladder", "beside the stone wall"],
         "in the farm kitchen": ["behind the flour sack", "under the bench", "on the high shelf"],
         "in the hen house": ["in the empty nest", "behind the door", "under the straw"],
         "in the corn field": ["beside the scarecrow", "under the cart", "by the broken fence"],
         "at the well": ["behind the well", "in the empty pail", "under the loose brick"]}),
    "at the edge of a big forest": (
        ["rabbit", "squirrel", "mouse", "fox", "hedgehog", "badger", "owl", "bear", "deer", "frog"],
        {"in the clearing": ["under the mossy log", "behind the tree stump", "in the tall ferns"],
         "at the stream": ["under the little bridge", "behind the gray rock", "between the roots"],
         "at the old oak tree": ["in the hollow trunk", "under the acorns", "on the lowest branch"],
         "in the cave": ["behind the round stone", "on the rock shelf", "in the darkest corner"],
         "on the hill": ["beside the pine tree", "under the berry bush", "behind the big rock"],
         "in the meadow": ["under the clover", "beside the molehill", "in the long grass"],
         "in the bramble patch": ["under the thorns", "behind the fallen leaves",
                                  "beside the snail path"]}),
    "beside the sea": (
        ["crab", "seal", "gull", "turtle", "otter", "pelican", "dog", "cat", "penguin", "puffin"],
        {"on the beach": ["under the upside-down boat", "behind the sand castle", "beside the driftwood"],
         "at the harbor": ["in the fishing net", "behind the barrels", "under the bench"],
         "in the lighthouse": ["under the winding stairs", "behind the big lamp", "in the sea chest"],
         "at the rock pool": ["under the seaweed", "between two rocks", "behind the starfish stone"],
         "in the boat shed": ["under the sail", "behind the oars", "in the paint bucket"],
         "in the dunes": ["beside the tall grass", "under the warm sand", "behind the signpost"],
         "on the pier": ["behind the rope coil", "under the ticket box", "beside the last post"]}),
    "in a village by the river": (
        ["cat", "dog", "duck", "rabbit", "mouse", "goose", "sparrow", "donkey", "frog", "hedgehog"],
        {"in the garden": ["under the rose bush", "behind the shed", "in the watering can"],
         "at the market": ["under the apple cart", "behind the cheese stand", "beside the fountain"],
         "at the bakery": ["behind the bread oven", "under the counter", "in the flour bin"],
         "on the stone bridge": ["in a gap in the wall", "under the lamp post", "beside the steps"],
         "in the schoolyard": ["under the swing", "behind the bike rack", "in the sandbox"],
         "at the mill": ["behind the water wheel", "under the grain sacks", "beside the mill door"],
         "in the park": ["under the slide", "behind the willow", "in the flower bed"]}),
    "in a tall house in town": (
        ["cat", "dog", "mouse", "parrot", "hamster", "rabbit", "sparrow", "turtle", "pigeon", "kitten"],
        {"in the attic": ["in the old trunk", "behind the rocking horse", "under the round window"],
         "in the kitchen": ["behind the cookie jar", "under the sink", "in the bread box"],
         "in the bedroom": ["under the bed", "behind the curtain", "in the sock drawer"],
         "in the back yard": ["behind the trash cans", "under the bush", "in the flower pot"],
         "in the library": ["behind the big atlas", "under the reading chair", "on the bottom shelf"],
         "in the cellar": ["behind the apple crates", "under the stairs", "in the coal box"],
         "on the roof": ["beside the chimney", "behind the pigeon house", "under the washing"]}),
    "in a snowy valley": (
        ["fox", "rabbit", "owl", "bear", "deer", "wolf cub", "squirrel", "mouse", "goat", "sparrow"],
        {"in the log cabin": ["beside the stove", "under the rug", "behind the wood pile"],
         "on the frozen lake": ["beside the fishing hole", "behind the snow wall", "under the old sled"],
         "in the pine wood": ["under the lowest pine", "behind the snowy stump", "in the woodpecker hole"],
         "in the stable": ["in the hay rack", "under the saddle", "behind the water trough"],
         "on the sledding hill": ["beside the flag", "behind the snowman", "under the gate"],
         "at the warm spring": ["beside the steaming pool", "under the flat rock", "behind the icicles"],
         "in the village hall": ["under the piano", "behind the coats", "on the window sill"]}),
}
