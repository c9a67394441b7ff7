"""Beginnings, endings, weather and small scenes of the story world, in story_templates.py's language:
what happens beside the plot and changes nothing that is asked about."""

WEATHER = {
    "sunny": ["The sun was [warm|bright], and the sky was blue.", "It was a [fine|lovely|golden] morning.",
              "The sun peeked over the roofs, and the birds began to sing.", "There was not one cloud in the sky.",
              "It was the kind of day that makes you want to run outside.", "Sunlight danced on everything."],
    "rainy": ["Rain tapped on the roof.", "It had rained all night, and there were puddles everywhere.",
              "Soft gray rain was falling.", "Drip, drop, went the rain.", "The clouds were low and dark.",
              "It was a wet day, and the snails were happy."],
    "windy": ["The wind [whistled|blew] around the corners.", "It was so windy that hats went flying.",
              "Leaves chased each other over the ground.", "A strong wind shook the trees.",
              "Whoosh, went the wind, and the doors rattled.", "The clouds ran across the sky like sheep."],
    "foggy": ["A white fog lay over everything.", "It was foggy, and the world was [quiet|very small].",
              "The fog was as thick as milk.", "You could not see past your own nose.",
              "The morning was gray and still.", "Mist hung in the air like a curtain."],
    "hot": ["It was a hot day, and even the flies were sleepy.", "The sun burned down, and everyone looked for shade.",
            "The air was warm like a bath.", "It was too hot to run.",
            "It had not rained for weeks.", "The ground was dry and warm under every foot."],
}
LATER = ["After a while,", "A little later,", "Before long,", "When that was done,", "Then,", "By and by,",
         "After a short rest,", "Not long after that,"]
OPEN = [
    "Once upon a time, {where}, there lived {a:intro}.", "{where} there lived {a:intro}.",
    "There was once {a:intro} who lived {where}.", "This is the story of {a:intro} who lived {where}.",
    "Long ago, {where}, there was {a:intro}.", "Do you know {a}? {a:He} was {a:intro_kind} who lived {where}.",
    "One day, {where}, {a:intro} woke up early.", "{where}, in a house with a green door, lived {a:intro}.",
    "Not so far from here, {where}, lived {a:intro}.", "Once there was {a:intro}. {a:He} lived {where}."]
FRIEND = [
    "{a:s} best friend was {b:intro}.", "{a} had a friend, {b:intro}.", "Next door lived {b:intro}.",
    "There was also {b:intro}, who liked to laugh.", "{a} often played with {b:intro}.",
    "Close by lived {b:intro}.", "Most days, {a} was with {b:intro}.", "And then there was {b:intro}.",
    "One of {a:s} friends was {b:intro}.", "Everyone there knew {b:intro}, too."]
LIKES = [
    "{A} liked [rain and mud|warm milk|long walks|funny songs|old books|loud parties|pancakes|shiny things] better than anything.",
    "{A} was [good at|fond of] [climbing|counting|whistling|making up songs|telling jokes|finding things|drawing|running].",
    "{A} asked a hundred questions a day.", "{A} wanted to know how everything worked.",
    "{A} could [run very fast|hop on one leg for a long time|sit as still as a stone].",
    "{A} was the smallest of them all, but {a:he} had a big heart.",
    "{A} laughed so loudly that the [windows|leaves] shook.", "{A} always got up before the sun did.",
    "{A} did not like to get up, but {a:he} liked breakfast.", "{A} talked to [stones|clouds|snails], and sometimes they answered.",
    "{A} was afraid of [thunder|the dark|loud noises], but {a:he} did not tell anyone.",
    "{A} never said no to [a story|a game|a cookie]."]
CLOSE = [
    "That night, {a} slept [well|deeply|with a smile].", "And {a} fell asleep before the first star came out.",
    "\"What a day,\" said {a}, and {a:he} yawned.", "It had been a good day for {a}.",
    "{A} told the moon all about it.", "Then the stars came out, one by one.",
    "And they all had [warm milk|soup|apple pie] together.", "From that day on, {a} and {b} were the best of friends.",
    "{a} and {b} sat side by side until the sky was dark.", "\"Tomorrow we will play again,\" said {b}.",
    "{A} closed {a:his} eyes and listened to the wind.", "\"Good night, {b:call},\" said {a}. \"Good night, {a:call},\" said {b}.",
    "And if you ask {a} today, {a:he} will tell you that it is all true.",
    "{A} had learned that [friends help each other|it is good to ask for help|small ones can do big things].",
    "And that is the end of the story.", "The moon looked in, and everything was still."]

# Words for scenes, by the slot that takes one of them.
ANY = {
    "f": ["a pear", "some bread", "a bun", "an apple", "some cheese", "a plum", "some nuts", "a cookie",
          "some berries", "a carrot", "a muffin", "some grapes", "a boiled egg", "a slice of melon", "some peas",
          "a pancake", "a piece of pie", "some raisins"],
    "n": ["three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"],
    "bug": ["beetle", "snail", "ladybug", "spider", "grasshopper", "caterpillar", "cricket", "worm", "moth"],
    "bird": ["robin", "crow", "swallow", "blackbird", "finch", "wren", "magpie", "jay", "heron"],
    "beast": ["cow", "horse", "sheep", "donkey", "bull", "goat", "pig", "deer", "bear", "big dog"],
    "shape": ["whale", "shoe", "dragon", "castle", "teapot", "train", "giant", "spoon", "snowman", "camel"],
    "tune": ["a happy", "a slow", "a silly", "a quiet", "a very old", "a new"],
    "taste": ["sweet", "wonderful", "like summer", "a little sour", "of honey", "just right"],
    "kin": ["cousin", "granny", "big sister", "oldest brother", "uncle", "great-aunt", "grandfather"],
    "feat": ["eat twenty pancakes", "sleep standing up", "walk on tall stilts", "talk to horses", "juggle five eggs",
             "whistle with a full mouth", "swim across the lake", "knit a sock in an hour", "snore like a bear"],
    "job": ["a cook", "a sailor", "a doctor", "a singer", "a train driver", "a king", "a painter", "a teacher"],
}
# Small scenes: for {a}, wherever that is; indoors and outdoors; for {a} and {b} together.
ANYWHERE = [
    "{A} sat down and ate {f}, which tasted {taste}.", "{A} made up {tune} song about {f}. It had only {n} words.",
    "{A} hopped on one leg until {a:he} fell over, and then {a:he} tried the other leg.",
    "\"One step, two steps, three steps, four,\" {a} said to {a:his} feet.",
    "{A} sneezed {n} times. \"Bless me,\" {a:he} said, for nobody else did.",
    "{A} tried to whistle. At first only air came out, and then, at last, a tiny tweet.",
    "Something rustled. {a} held {a:his} breath. It was only a {bug}.",
    "{A} built a little tower, {n} stones high. It fell down, and {a:he} built it again.",
    "There was an echo. \"Hello!\" called {a}. \"Hello!\" said the echo.",
    "{A} was thirsty, so {a:he} drank some cool water.", "A church bell rang far away. {a} counted {n} strokes.",
    "{A} looked back over {a:his} shoulder. {a:His} shadow was still following {a:him}.",
    "{A} put {f} on a flat stone, in case somebody came by who was hungry.",
    "A {bug} walked across {a:s} foot. It tickled.", "{A} closed one eye, and then the other, and everything jumped a little.",
    "{A} whistled {tune} tune, and a {bird} answered.", "{A} practiced walking backward and bumped into nothing at all.",
    "A moth sat on the wall with its wings folded. {a} said good day to it.",
    "{A} thought about {f} for a while. Thinking did not help, and {a:his} tummy growled.",
    "{A} found a {bug} on its back and turned it over. \"There you go,\" {a:he} said.",
    "{A} wondered what a {beast} dreams about.", "{A} counted to {n} with {a:his} eyes shut, just to see if anything changed.",
    "{A} had an itch right in the middle of {a:his} back, so {a:he} rubbed it against a post.",
    "{A} pretended to be a {beast} and made the noise, but nobody guessed it.",
    "\"If I had wings,\" thought {a}, \"I would fly once around the moon and be back for supper.\"",
    "Once, {a} had wanted to be {job}. Now {a:he} was not so sure.",
    "{A} yawned so widely that a {bug} could have flown in.", "A crumb lay on the ground, and {n} ants were pulling at it. {a} cheered for them."]
INDOORS = [
    "A ray of light fell through a crack. Dust danced in it, and {a} tried to catch some.",
    "It smelled of old wood [and apples|and soap|and mice].", "The floor creaked. {a} stepped on it again to hear it creak once more.",
    "{A} drew a {shape} in the dust with one {a:finger}.", "Somewhere a drop fell, and then another. Plink. Plink.",
    "A {bug} was spinning or sleeping in the corner, {a} could not tell which.", "It was nice and dry in there.",
    "{A} looked out through a small window and saw a {bird} looking in.", "A mouse hole was in the wall. {a} said hello into it.",
    "{A} lifted the lid of a pot. There was nothing in it but the smell of {f}.",
    "The door swung open and shut all by itself. It was only the wind.", "{A} sat in a corner for a while, because it was such a good corner."]
OUTDOORS = [
    "A {bird} flew by. {a} watched it until it was only a dot.", "A {bug} was crossing the path. {a} waited until it had reached the other side.",
    "{A} counted [the clouds|the stones|the birds on the fence]. There were {n}.",
    "{A} saw {a:his} own face in a puddle and stuck out {a:his} tongue. So did the face.",
    "{A} jumped over a crack, and over another, and over a third.", "A leaf fell on {a:s} head. \"Thank you,\" {a:he} told the tree.",
    "{A} lay down on {a:his} back and looked at the clouds. One of them was a {shape}.",
    "{A} found a stick that was just right for drawing. {a:He} drew a {shape} on the ground.",
    "A feather came down from the sky. {a} blew it up again, and again, and again.",
    "A [big|small|striped] cat walked past and did not even look at {a}.",
    "A spider had made a web, and there were drops on it like beads. {a} looked at every one.",
    "{A} rolled down a little slope, and then climbed up and rolled down again.",
    "{A} said hello to [an old tree|a fat pigeon|a wooden post]. It was too busy to answer.",
    "{A} stopped to smell a flower. A bee was inside, and both of them got a fright.",
    "{A} shared {f} with a hungry {bird}.", "Far away, a dog barked, and another dog answered.",
    "A {bird} sang {tune} song from the top of a tree.", "{A} skipped {n} times and then walked like a {beast}.",
    "{n} {bird}s sat in a row, and each of them looked another way.", "{A} picked a dandelion and blew. The seeds flew off like tiny umbrellas.",
    "A cart rolled past with a load of hay. The driver waved at {a}.", "{A} put an ear to the ground and heard, very far away, a {beast}. Or maybe not.",
    "There was a hole in the ground, and {a} wondered who lived in it. Maybe it was a {bug}.",
    "{A} balanced along a low wall without falling, or almost."]
TOGETHER = [
    "{A} and {b} shared {f}. {b} got the bigger half.",
    "\"Do you know what I dreamed?\" asked {b}. \"I dreamed that I was a {beast}.\" {a} wanted to hear all of it.",
    "\"Why is the sky blue?\" asked {a}. \"Because the {bird}s like it that way,\" said {b}.",
    "{b} told a joke about a {beast} and a {bug}, and {a} laughed until {a:his} tummy hurt.",
    "\"I am hungry,\" said {b}. Luckily {a} had {f}.", "\"Race you!\" said {b}. {b:He} won by a nose.",
    "{b} hummed {tune} song, and {a} hummed along, though neither knew the words.",
    "\"What will you be when you are big?\" asked {b}. \"Taller,\" said {a}. \"And {job}.\"",
    "{b} was quiet. \"What are you thinking of?\" asked {a}. \"Of {f},\" said {b}.",
    "{A} tried to stand on {a:his} head. {b} held {a:his} feet. Both of them fell over.",
    "\"Shh,\" said {b}. A {bird} was standing quite close. Then it was gone.",
    "{b} found a [round|flat|white] stone, and {a} found one that was even nicer.",
    "\"Are you cold?\" asked {a}. \"Only my nose,\" said {b}. So {a} rubbed {b:his} nose.",
    "They played that they were [pirates|kings|bears], and {b} was the loudest.",
    "\"I can say the alphabet backward,\" said {b}, but {b:he} got stuck at Y.",
    "{b} yawned, and then {a} yawned, too, and then a passing {bug} did.",
    "\"Your ears are wiggling,\" said {a}. \"They do that when I am happy,\" said {b}.",
    "\"Tell me a story,\" said {b}. So {a} told one about a very slow {beast}.",
    "They sat down to rest. {b} told {a} about {b:his} {kin}, who could {feat}.",
    "{A} and {b} followed a {bug} to see where it lived. It lived under a stone.",
    "\"Let us see who can be quiet the longest,\" said {a}. {b} lost, because {b:he} said, \"All right!\"",
    "They built a tiny house of twigs, with a leaf for a door. \"A {bug} could live here,\" said {b}.",
    "\"You have a leaf on your head,\" said {b}. \"That is my hat,\" said {a}.",
    "\"My {kin} can {feat},\" said {b}. \"Mine, too,\" said {a}, but that was not quite true.",
    "\"Which would you rather be, a {beast} or a {bug}?\" asked {a}. {b} had to think about it for a long time.",
    "{b} gave {a} {f}. \"It is good for the ears,\" {b:he} said.", "{A} and {b} made faces at each other until {b} began to giggle.",
    "\"I spy something round,\" said {a}. \"Is it {f}?\" asked {b}. It was.", "{b} walked in front like a {beast}, and {a} walked behind like a {bug}.",
    "\"I am not tired,\" said {b}, and {b:he} fell asleep for {n} minutes. {a} waited.",
    "\"Listen,\" said {a}. A {bird} was singing {tune} song. They listened until it was over."]
WEATHER_SCENES = {
    "sunny": ["The sun made a bright spot on the ground, and {a} stood in the middle of it.",
              "It was so bright that {a} had to blink.", "{A} turned {a:his} face up to the warm sun.",
              "Everything smelled of grass and sunshine."],
    "rainy": ["{A} splashed through the biggest puddle there was.", "A drop ran down {a:s} nose and hung at the tip.",
              "{A} stood under a roof for a while and listened to the rain.", "The rain stopped, and then it thought again and went on."],
    "windy": ["The wind pushed {a} from behind, as if it was in a hurry.", "A newspaper flew past like a big gray bird.",
              "{A} leaned into the wind and did not fall.", "The wind blew so hard that {a} had to hold on to {a:his} ears."],
    "foggy": ["Something big came out of the fog. It was only a {beast}.", "{A} clapped, and the fog swallowed the sound.",
              "The fog made little drops on {a:s} eyebrows.", "A bell rang somewhere in the fog."],
    "hot": ["{A} fanned {a:his} face with a big leaf.", "{A} found some shade and stayed there for a bit.",
            "Even the shadows looked hot.", "{A} dreamed of ice cream and cold water."],
}
NEXT_DAY = ["The next day, {a} was up early.", "The next morning, {a} felt like going out again.", "Then a new day came.",
            "On the following day, {a} had other plans.", "A few days later, this happened.", "When the week was over, {a} had a free day.",
            "{a} ate a big breakfast the next morning.", "And that was only the first day!", "The day after that was different."]
EVENING = ["In the west, the sky was like fire.", "One by one, the birds grew quiet.", "The sun slid down behind the trees.",
           "It was time for supper.", "The air grew cool.", "The shadows grew long.", "Evening came, and the sky turned [pink|orange|red].", "Little by little, it got dark.",
           "The first bats came out.", "Lights went on in the windows.", "The day was almost over."]

# What is promised, lent for, said, and made: {w}, {why}, {news}, {m} with its parts.
PROMISES = ["feed the ducks", "water the flowers", "bring a cup of soup", "close the gate", "sing a song at bedtime",
            "pick some berries", "light the lamp", "sweep the steps", "bring in the washing", "count the sheep",
            "ring the bell", "fetch some wood", "save a piece of cake", "leave the window open", "read the letter out loud"]
NEWS = ["the soup is ready", "the boat comes on Sunday", "the baby has a tooth", "the bridge is mended",
        "the party is at four", "the roses are open", "the cow is well again", "the snow will come soon",
        "the door is not locked", "the kittens can see now", "the train is late", "the pie needs more sugar"]
LEND_WHY = {"rope": "My sled is stuck in the mud.", "umbrella": "I must walk home in the rain.", "lantern": "It is dark in my room.",
            "blanket": "I am cold at night.", "ladder": "My cat is up on the roof.", "bucket": "The flowers need water.",
            "book": "I cannot sleep without a story.", "wagon": "I have so many apples to carry.", "basket": "I want to pick plums.",
            "map": "I do not know the way to the mill.", "drum": "I want to play in the parade.", "pillow": "My neck hurts.",
            "scarf": "My throat is sore.", "teapot": "My aunt is coming to tea.", "brush": "I want to paint the fence.",
            "hat": "The sun is in my eyes.", "jar": "I need to keep my berries somewhere.", "pencil": "I must write a letter.",
            "cup": "I am so thirsty.", "bell": "The goats will not come home.", "mirror": "There is something on my nose.",
            "flute": "It is my turn to play for the class.", "whistle": "I am going to lead the team."}
PULLERS = ["rope", "scarf", "umbrella", "ladder", "ribbon", "blanket", "spoon"]
MAKE = [("a birthday cake", ["some flour", "some sugar", "an egg"]), ("a kite", ["some paper", "some string", "a thin stick"]),
        ("a raft", ["a plank", "some rope", "an old sheet"]), ("a pot of soup", ["a turnip", "some salt", "an onion"]),
        ("a bird house", ["a board", "some nails", "a hammer"]), ("a scarecrow", ["a broom", "some straw", "an old coat"]),
        ("a puppet show", ["a sock", "some buttons", "a cardboard box"]), ("a swing", ["a tire", "some rope", "a strong branch"]),
        ("a flower garden", ["some seeds", "a rake", "a watering can"]), ("a paper lantern", ["some wire", "some glue", "a candle"])]
