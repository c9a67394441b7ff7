"""How the events of the story world are told: for each kind of event its templates.

{A} is a name, or a pronoun if the sentence before was about the same one; {a} always a name. Forms:
{a:he} {a:him} {a:his} {a:s} (Mia's) {a:call} (as addressed) {a:intro} (a little girl named Mia);
{t} the red kite, {t:a} a red kite, {t:my} red kite; {p} in the barn, {p:to} to the barn, {p:name} the
barn; {s} a hiding spot. [x|y] is a choice, one half of which may be empty.
"""

TEMPLATES = {
    # Having, finding, giving.
    "has": [
        "{A} had {t:a} [|of {a:his} own].", "{A} [owned|had] {t:a}, and {a:he} took it everywhere.",
        "Of all {a:his} things, {a} loved {a:his} {t:my} the most.",
        "{A} never went out without {a:his} {t:my}.",
        "{A} kept {t:a} [close by|near {a:his} bed] at night.",
        "The best thing that {a} had was {t:a}.", "{A} was very proud of {a:his} {t:my}.",
        "Every morning, {a} [polished|cleaned|looked at] {a:his} {t:my}.",
        "{A} carried {t:a} under one arm.", "Everyone knew that {t} belonged to {a}."],
    "was_given": [
        "{b} had given {t} to {a} [last winter|long ago|for {a:his} birthday].",
        "It was a present from {b}, and {t} was dear to {a}.",
        "{A} got {t} from {b}, who [smiled and|] said, \"Take good care of it.\"",
        "\"This was mine when I was small,\" {b} had said, and had put {t} into {a:s} {a:hands}.",
        "{A} often thought of the day when {b} gave {t} to {a:him}.",
        "{b} made {t} with two careful {b:hands}, just for {a}.",
        "{A} could still hear {b} say, \"This {t:my} is for you.\""],
    "find": [
        "There {a} found {t:a} {s}.", "{A} looked {s} and saw {t:a}.",
        "Something [shone|lay|was waiting] {s}. It was {t:a}, and {a} picked it up.",
        "{A} bent down, reached {s}, and pulled out {t:a}.",
        "\"Look at that!\" said {a}, for there was {t:a} {s}. {a:He} took it along.",
        "What was that {s}? {a} looked twice. It was {t:a}, so {a:he} kept it.",
        "{A} almost [stepped on|walked past] {t:a} that lay {s}, but then {a:he} saw it and took it."],
    "give": [
        "{A} gave {t} to {b}.", "{A} held out {t}. \"This is for you,\" {a:he} said, and {b} took it.",
        "\"You may have {t},\" said {a}, and {a:he} put it into {b:s} {b:hands}.",
        "{A} thought about it for a while, and then {a:he} gave {t} to {b}.",
        "\"I want you to have {t}, {b:call},\" said {a}. {b} [held it tight|did not know what to say].",
        "With a [big|shy|warm] smile, {a} handed {t} to {b}.",
        "{b} opened both {b:hands}, and {a} laid {t} in them.",
        "So {a} gave {b} {t}, [and that was that|to keep].",
        "{A} had a present for {b}. It was {t}.",
        "\"Close your eyes,\" said {a}. When {b} looked again, there was {t}, and it was {b:own} now."],
    "wish": [
        "\"I have always wanted {t:a},\" said {b}.", "\"Is that {t:a}?\" asked {b}. \"How beautiful!\"",
        "{b} could not take {b:his} eyes off {t}.", "{b} looked a little lonely that day.",
        "\"Today is my birthday,\" said {b}, \"and nobody knows.\"",
        "\"I lost my {t:noun} last summer,\" {b} told {a}.",
        "{a} knew that {b} had a cold and needed something to cheer {b:him} up.",
        "\"I dreamed of {t:a} last night,\" said {b}."],
    "lend": [
        "\"May I borrow {t}?\" asked {b}. \"{why}\" {a} nodded and gave it to {b:him}.",
        "{b} asked {a} for {t}. \"{why}\" So {a} lent it to {b:him}.",
        "\"{why:comma}\" said {b}. \"Take {t},\" said {a}, \"but bring it back.\" {b} took it.",
        "{b} looked worried. \"{why}\" \"Then you must take {t},\" {a} said and handed it over.",
        "{A} lent {t} to {b}, who had [said|sighed|whispered], \"{why}\"",
        "When {b} said, \"{why}\" {a} did not wait. {a:He} let {b:him} have {t} for a while.",
        "\"Please lend me {t}, {a:call}. {why}\" {a} thought it over and let {b} take it."],
    "give_back": [
        "{A} brought {t} back to {b}.",
        "\"Here is {t},\" said {a}. \"Thank you for lending it to me, {b:call}.\"",
        "{A} did not forget. {a:He} gave {t} back to {b}.",
        "\"I have something of yours,\" said {a}, and {b} got {t} back.",
        "{A} came running to {b} with {t}. \"I said that I would bring it back!\"",
        "{b} was glad when {a} put {t} back into {b:his} {b:hands}."],
    "swap": [
        "\"Will you swap?\" asked {a}. {b} nodded. So {a} got {u}, and {b} got {t}.",
        "{A} gave {t} to {b}, and {b} gave {u} to {a}. Both thought it a good trade.",
        "\"I will give you {t} for {u},\" said {a}. {b} laughed, and they traded.",
        "{b} liked {t} so much that {b:he} gave {a} {u} for it.",
        "They shook hands on it. Now {b} had {t}, and {a} had {u}.",
        "\"What a nice {t:my}!\" said {b}. \"Would you take {u} for it?\" {a} said yes, and they traded."],
    # Losing and looking.
    "drop": [
        "[Nobody saw that|{A} did not feel it when] {t} fell down and stayed {s}.",
        "While {a} looked the other way, {t} slipped out and fell {s}.",
        "{A} put {t} down {s}, just for a moment, and then walked off without it.",
        "Plop! {t} dropped {s}, but {a} was humming and did not hear.",
        "{A} hopped over a [puddle|stone], and {t} flew out and landed {s}. {a:He} never noticed.",
        "There was a hole in {a:s} little bag, and {t} fell through it. It came to rest {s}.",
        "{A} laid {t} {s} to look at a bug, and then {a:he} forgot it."],
    "miss": [
        "Then {a} stopped. {t} was gone!", "\"Oh no,\" said {a}. \"Where is {t}?\"",
        "{A} reached for {t}, but it was not there.",
        "{A} looked in every pocket. There was no {t:my}.",
        "\"I had {t} this morning,\" said {a}, \"and now it is gone!\"",
        "It was only now that {a} saw that {t} was missing."],
    "sad_lost": [
        "{A} sat down and [cried|wept] a little.", "A big tear rolled down {a:s} cheek.",
        "{A} felt as if there was a stone in {a:his} tummy.", "{a:His} lip began to shake.",
        "{A} did not want to play anymore.", "The whole day looked gray to {a} now."],
    "ask_where": [
        "\"Do not cry,\" said {b}. \"Where did you go today?\"",
        "{b} sat down beside {a:him}. \"Let us think. Where have you been, {a:call}?\"",
        "\"Things do not just fly away,\" said {b}. \"We will walk back the way that you came.\"",
        "{b} gave {a:him} a hug. \"I will help you look,\" {b:he} said.",
        "\"Two can look better than one,\" said {b}. \"Come on, {a:call}.\""],
    "look_no": [
        "They looked {p}, [up and down|here and there|in every corner], but it was not there.",
        "They went {p:to} first. There was nothing but [dust|leaves|an old shoe].",
        "{p:To} they went, and they [asked everyone|looked high and low]. No luck.",
        "\"Maybe it is {p},\" said {a}. They looked and looked, but no.",
        "{b} searched {p:name} from end to end and shook {b:his} head."],
    "find_again": [
        "Then {b} looked {s}. There was {t}!", "And there, {s}, {p}, lay {t}.",
        "\"{a:call}, come quick!\" called {b}. {t} was still {s}.",
        "{A} peeked {s}, and {a:his} heart jumped. It was {t}!",
        "They went back {p:to}, and {s} they found {t}, safe and sound.",
        "\"I remember now!\" cried {a}. \"I was {p}!\" They ran there, and {s} lay {t}."],
    "take_up": [
        "{A} picked up {t} and held it tight.", "{A} hugged {t} as if it was a long lost friend.",
        "{A} wiped {t} clean and put it in {a:his} bag.", "\"I have you back,\" {a} told {t}.",
        "{A} took {t} in both {a:hands} and danced in a circle."],
    # Hiding.
    "hide": [
        "{A} hid {t} {s}, {p}.",
        "{A} tiptoed {p:to} and put {t} {s}. \"Nobody will find it here,\" {a:he} said.",
        "{p:To} {a} went, all alone. There {a:he} hid {t} {s}.",
        "\"This is a good spot,\" whispered {a}, and {a:he} pushed {t} {s}, {p}.",
        "When no one was looking, {a} slipped {t} {s}. That was {p}.",
        "{A} looked left and right. Then {a:he} tucked {t} away {s}, {p}."],
    "hide_why": [
        "\"It is a surprise for {b},\" {a:he} whispered.", "{A} wanted to keep it safe for {b}.",
        "It was going to be a present for {b}.",
        "{A} wanted to see how long it would take {b} to find it.",
        "\"{b} must not see it before tonight,\" {a:he} said.",
        "{A} had a secret now, and it tickled."],
    "clue": [
        "\"I hid something for you,\" said {a}. \"Will you look for it, {b:call}?\"",
        "\"There is a surprise for you,\" {a} told {b}. \"But you have to find it!\"",
        "{A} could not keep the secret any longer. \"{b:call}, something is waiting for you!\"",
        "\"Guess what I hid,\" said {a}. {b} clapped and wanted to start at once."],
    "forget_spot": [
        "{A} scratched {a:his} head. Where was it again?", "\"Now where did I put it?\" said {a}.",
        "{A} closed {a:his} eyes and thought hard.", "For a moment, {a} could not remember the spot.",
        "\"It was such a good spot that I almost forgot it myself,\" said {a}."],
    "remember_spot": [
        "Then {a} remembered. \"{s}, {p}!\" {a:he} cried.",
        "\"I know! I put it {s},\" said {a}, and they all went {p:to}.",
        "{A} snapped {a:his} {a:fingers}. \"It is {p}, {s}!\"",
        "{A} smiled. Of course! It was {s}, {p}."],
    "pull_out": [
        "{b} reached {s} and pulled out {t}.", "{b} looked {s}, and there it was, {t}!",
        "With one [quick|careful] pull, {b} had {t}.",
        "\"{t}!\" cried {b}. \"It was {s} all the time!\""],
    # Promises.
    "promise": [
        "\"I promise to {w},\" {a} told {b}.", "\"Will you {w}?\" asked {b}. \"I promise,\" said {a}.",
        "{A} promised {b} to {w}.",
        "\"Please do not forget to {w},\" said {b}. \"I will not forget,\" {a} promised.",
        "{b} held up one little {b:finger}. \"Promise me to {w}.\" \"I promise,\" said {a}.",
        "\"Before the sun goes down, I will {w},\" said {a}. \"Is that a promise?\" asked {b}. It was.",
        "{A} gave {b} {a:his} word. {a:He} would {w}."],
    "almost_forgot": [
        "It had been such a full day that {a} [almost|nearly] forgot {a:his} promise.",
        "{A} yawned and wanted to lie down. But wasn't there something left to do?",
        "All at once {a} stopped and put a {a:hand} to {a:his} mouth.",
        "{A} was on {a:his} way home when a thought made {a:him} stop.",
        "Something [pulled|nagged] at {a}, like a tug at {a:his} ear."],
    "remember_promise": [
        "\"{b:call}!\" {a:he} said. \"I promised to {w}!\"", "{A} had promised {b} to {w}.",
        "\"I said that I would {w}, and {b} is waiting,\" {a:he} thought.",
        "Then it came back to {a:him}. {b} was counting on {a:him} to {w}.",
        "\"A promise is a promise,\" {a:he} said. {a:He} had to {w} for {b}."],
    "keep_promise": [
        "So {a} turned around and did it, just as {a:he} had said.",
        "{A} ran as fast as {a:he} could, and {a:he} was just in time to {w}.",
        "It was late, but {a} did it, and {a:he} was glad.",
        "{A} did not mind that {a:his} legs were tired. {a:He} kept {a:his} word.",
        "And {a} did {w}, with no one to remind {a:him}."],
    "promise_kept": [
        "\"You did not forget,\" said {b}. \"I knew it.\"", "{b} was still waiting, and {b:he} smiled.",
        "\"I can always trust you, {a:call},\" said {b}.",
        "{b} gave {a:him} a [warm|long] hug for it."],
    # Wishes and making.
    "want_make": [
        "{A} wanted to make {m}.", "\"Today I will make {m},\" said {a}.",
        "{A} had an idea. {a:He} would make {m}!",
        "All week {a} had dreamed of making {m}.",
        "\"We need {m},\" said {a}. \"I know how to make it.\"",
        "{m}! That was what {a} wanted to make."],
    "need": [
        "For that, {a:he} needed {i}, {j}, and {k}.",
        "\"I need {i},\" {a:he} said. \"And {j}. And {k}.\"",
        "{A} counted on {a:his} {a:fingers}. \"{i}, {j}, and {k}. Then I can start.\"",
        "But {a:he} had no {i:bare}, no {j:bare}, and no {k:bare}."],
    "ask_for": [
        "\"Do you have {i}?\" asked {a}. {b} did.",
        "{A} told {b} all about it. \"I have {i} for you,\" said {b}.",
        "\"Good day, {b:call}. Could you give me {i}?\" \"Of course,\" said {b}.",
        "{b} listened and nodded. \"I think that I have {i} somewhere.\"",
        "\"What are you up to, {a:call}?\" asked {b}. When {b:he} heard it, {b:he} went to get {i}."],
    "get_part": [
        "{b} gave {i} to {a}, and it went into the bag.", "So {a} got {i} from {b}.",
        "{A} thanked {b} for {i} and went on.", "{b} gave {a} {i} and wished {a:him} luck.",
        "\"Here you are,\" said {b}, and now {a} had {i}."],
    "make_done": [
        "{A} worked until {a:his} cheeks were pink, and at last {a:he} had {m}.",
        "{A} put it all together, bit by bit. It was {m}!",
        "It took a long time, and some of it went wrong, but in the end {a} had made {m}.",
        "Snip, snap, stir, and tie. There was {m}, as fine as could be."],
    "make_share": [
        "Everyone who had helped came to see it.", "{A} shared it with all who had helped.",
        "\"This is for all of us,\" said {a}.", "They all sat around it, and {a} was proud."],
    # Moving.
    "go": [
        "{A} went {p:to}.", "{A} [walked|skipped|ran|hurried] {p:to}.", "Then {a} was off {p:to}.",
        "[Step by step|Without any hurry|Singing a little], {a} came {p:to}.",
        "{A} took the [short|long|winding] way {p:to}.", "Soon {a} was {p}.", "Next, {a} went {p:to}.",
        "\"I will go {p:to},\" said {a}, and so {a:he} did.",
        "It was not far {p:to}, and {a} was there in no time.",
        "{A} hummed a little song all the way {p:to}.",
        "Where to now? {p:To}, {a} thought, and off {a:he} went.",
        "{A} wanted to see what was new {p}, so {a:he} went there.",
        "\"I have not been {p} for a long time,\" said {a}, and {a:he} went there.",
        "{A} counted {a:his} steps {p:to}. There were [ninety|a hundred|more than two hundred].",
        "{A} found {a:his} way {p:to}.",
        "Left, right, left, right, {a} marched {p:to}.", "{A} did not stop until {a:he} was {p}.",
        "{A} wandered {p:to}.",
        "It was so nice {p} that {a} had to go there.",
        "{A} could smell something good, and followed it {p:to}."],
    "go_two": [
        "{A} and {b} went {p:to} together.", "Side by side, {a} and {b} walked {p:to}.",
        "\"Come with me {p:to},\" said {a}, and {b} came along.",
        "{A} took {b} by the {b:hand}, and they ran {p:to}.",
        "{a} raced {b} {p:to}. They got there at the very same time."],
    "meet": [
        "{b} was {p}[ too|, too].", "There {a} met {b}.",
        "{p}, {b} was [busy|resting|waiting|looking at the sky].",
        "And who was that? It was {b}!", "\"Hello, {a:call}!\" called {b}.",
        "{b} waved when {b:he} saw {a}.",
        "{p}, {a} saw {b}.", "Somebody tapped {a} on the back. It was {b}.",
        "{b} had come there a little before {a}.",
        "\"What are you doing here?\" asked {b}, who was sitting {p}.",
        "{b} was {p} that day, as {b:he} often was.",
        "\"Good day,\" said {b}. \"Good day, {b:call},\" said {a}.",
        "{A} heard a laugh that {a:he} knew. It was {b}.",
        "{b} was just coming the other way.", "A voice called, \"{a:call}!\" That was {b}.",
        "{a} and {b} nearly bumped into each other {p}.",
        "{A} was not alone for long, for {b} came along."],
    "who": [
        "{b} was {b:intro_kind}.", "{b:He} was {b:intro_kind}, and {b:his} name was {b}.",
        "{b} was {b:intro_kind} who lived nearby.", "As everyone knew, {b} was {b:intro_kind}.",
        "Have you heard of {b}? {b} was {b:intro_kind}."],
    "go_home": [
        "At the end of the day, {a} went {p:to}.", "When the lamps were lit, {a} went back {p:to}.",
        "{A} was tired now, and {a:he} went {p:to} to rest.",
        "{A} walked slowly {p:to}, for it had been a long day.",
        "\"It is late,\" said {a}, and {a:he} went {p:to}."],
    # Friends, feelings, weather.
    "thanks": [
        "\"Thank you, {b:call},\" said {a}.",
        "\"Thank you! Thank you!\" cried {a}, and {a:he} jumped up and down.",
        "{A} gave {b} a hug.", "\"You are so kind, {b:call},\" {a} said.",
        "{A} did not know how to thank {b}.",
        "\"I will never forget this,\" said {a}.", "{A} smiled from ear to ear.",
        "\"That is the nicest thing that happened all day,\" said {a}.", "{A} made a little bow.",
        "\"Oh, {b:call}!\" said {a}, and that was enough.", "{A} blushed a little and said thank you.",
        "\"I will do something nice for you, too,\" said {a}.",
        "\"You are a true friend, {b:call},\" said {a}."],
    "happy": [
        "{A} was so happy that {a:he} [sang|danced|laughed out loud].", "{A} felt warm all over.",
        "{a:His} heart was as light as a feather.", "{A} could not stop smiling.",
        "{A} had not been so happy for a long time.",
        "It made {a} [glad|proud|happy] from head to toe.", "{A} hummed with joy.",
        "{A} skipped in a circle, [once|twice|three times].",
        "\"This is the best day of the week,\" said {a}.",
        "If {a} had been a bird, {a:he} would have flown.",
        "{A} let out a long, happy breath.", "All of {a:his} worries were gone."],
    "quarrel": [
        "\"{t} is mine!\" said {a}. \"No, mine!\" said {b}.",
        "Both wanted to have it. {a} pulled at {t} on one side, and {b} on the other.",
        "\"I saw {t} first,\" {b} said. \"Let me have it!\" But {a} held on to it.",
        "Both {a} and {b} wanted {t}, and neither would let go."],
    "part": [
        "{A} turned around and stamped off with it.",
        "\"Then I will play alone,\" said {a}, and {a:he} took {t} along.",
        "{A} did not say good-bye. {a:He} just left, with {t}.",
        "{A} kept {t}, but it was no fun anymore."],
    "sorry": [
        "\"I am sorry, {b:call},\" said {a}. \"It is no fun without you.\"",
        "{A} looked at {a:his} toes. \"I was not nice to you, {b:call}. I am sorry.\"",
        "\"I was wrong,\" said {a} in a small voice.",
        "{A} went up to {b}. \"Can we be friends again?\""],
    "make_up": [
        "\"I am sorry, too,\" said {b}.", "{b} had missed {a:him}, and {b:he} said so.",
        "{b} was not angry anymore. \"Friends,\" {b:he} said.", "Then both of them began to laugh."],
    # Hide and seek.
    "seek_start": [
        "\"Let us play hide and seek!\" said {a}. \"I will count.\"",
        "{A} covered {a:his} eyes. \"One, two, three,\" {a:he} counted.",
        "It was {a:s} turn to seek. {a:He} turned to the wall and counted to ten.",
        "They wanted to play hide and seek, and {a} was the one to look."],
    "hide_self": [
        "{A} hid {s}.", "{A} ran off and hid {s}.",
        "{A} found a place {s}, and there {a:he} sat like a stone.",
        "Quick as a wink, {a} was {s}, {p}.",
        "{A} tried one place, then another, and at last {a:he} hid {s}.",
        "\"Here,\" thought {a}, and {a:he} sat down {s} and was very quiet.",
        "{A} giggled all the way to a spot {s}.",
        "{s} was just enough room for {a}, if {a:he} did not breathe too much."],
    "found_self": [
        "{A} looked {s}. \"I see you, {b:call}!\"", "A giggle came from somewhere {p}. {b} was {s}!",
        "{A} saw a [toe|nose|bit of a back] that stuck out. It was {b}, {s}.",
        "\"Found you, {b:call}!\" cried {a}. {b} came out from {b:his} spot {s}, laughing.",
        "It took a long time, but then {a} found {b} {s}."],
    # An errand.
    "errand": [
        "\"Please take {t} to {c},\" {b} told {a}.",
        "{b} gave {t} to {a}. \"Can you bring it to {c}?\"",
        "\"{c} needs {t},\" said {b}. \"Will you carry it there, {a:call}?\" {a} took it and nodded.",
        "{b} put {t} in {a:s} basket. \"This is for {c}. Do not stop too long on the way!\""],
    "message": [
        "\"And tell {c:him} that {news},\" {b:he} said.", "\"Say to {c} that {news}.\"",
        "\"One more thing,\" said {b}. \"{c} should know that {news}.\""],
    "tempt": [
        "\"Stay and play with me,\" said {b}. \"I would love to,\" said {a}, \"but {c} is waiting.\"",
        "\"What have you got there?\" asked {b}. \"It is {t}, and it is for {c},\" {a} said.",
        "\"May I have {t}?\" asked {b}. \"No, it is for {c},\" said {a}, and {a:he} held it tight."],
    "deliver": [
        "\"This is for you,\" said {a}, and {a:he} gave {t} to {c}.",
        "{A} had carried {t} all the way, and now {c} had it.",
        "{c} was happy to get {t}, and {a} stood a little taller."],
    "say_message": [
        "\"And I am to tell you that {news},\" {a} said.",
        "{A} remembered the message, too. \"{b} says that {news}.\"",
        "\"What did {b} say?\" asked {c}. \"That {news},\" said {a}."],
    # Helping.
    "trouble": [
        "{b} was {p}, and {b:he} was stuck {s}.",
        "\"Help!\" cried a small voice. It was {b}, caught {s}.",
        "{A} heard a whimper. There was {b}, stuck {s}."],
    "use_thing": [
        "{A} had an idea. {a:He} held out {t}, and {b} took hold of it. Pull! {b} was free.",
        "Then {a} thought of {t}. With it, {a:he} got {b} out.",
        "\"Hold on, {b:call}!\" said {a}. {t} was just what {a:he} needed, and soon {b} was free."],
    "repay": [
        "\"You helped me with {t},\" said {b}. \"Now I will help you.\"",
        "It was {b}! \"You got me out when I was stuck,\" {b:he} said. \"Follow me, {a:call}.\"",
        "{b} had not forgotten who had helped {b:him}. \"Come,\" {b:he} said, \"I know the way.\""],
    "lost_way": [
        "Bit by bit, {a} saw that {a:he} did not know the way home.",
        "Fog came up, and {a} did not know where {a:he} was.",
        "{A} had walked too far. All the paths looked the same."],
}
