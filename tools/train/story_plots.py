"""The plots of the story world: what happens, in which order. Each is a function of a Story."""

from story_scenes import (LATER, LEND_WHY, MAKE, NEWS, PROMISES, PULLERS, WEATHER)
from story_teller import Part

PROMPTS = ["Tell me a story about {a_kind}.", "Tell me a story about {name}.",
           "Can you tell me a story about {a_kind} named {name}?", "Please tell me a story about {name}.",
           "I want to hear a story about {a_kind}.", "A story about {name}, please.",
           "Write a short story about {a_kind}.", "Tell me a bedtime story about {name} the {kind}."]


def begin(s):
    hero = s.hero
    span = s.say("open", a=hero, where=s.where)
    s.world.apply("kind", span, who=hero)
    s.say("likes", a=hero)
    if s.rng.random() < 0.7:
        s.introduce(s.friend, "friend")
    if s.rng.random() < 0.4:  # Never touched again, and asked all the same.
        s.introduce(s.friend, "friend")
        s.has(s.friend, s.thing())
    s.teller.paragraph()
    s.say(f"{s.weather} weather")


def next_day(s):
    """Nobody is where the last day left him."""
    s.teller.paragraph()
    s.world.place.clear()
    s.weather = s.rng.choice(list(WEATHER))
    s.say("next_day", a=s.hero)
    s.say(f"{s.weather} weather")


def end(s):
    hero, friend = s.hero, s.friend
    s.teller.paragraph()
    s.say("evening")
    mate = friend if s.here(friend) == s.here(hero) else None
    if s.rng.random() < 0.5:
        home = s.places[-1]
        if s.here(hero) != home:
            span = s.say("go_home", a=hero, p=home, named=True)
            s.world.apply("at", span, who=hero, place=home.key)
            s.world.place[hero] = home
            mate = None
    s.say("close", a=hero, b=mate, fits=lambda t: mate or "{b" not in t)


def lost(s):
    a, b, t = s.hero, s.friend, s.thing()
    first, second, third = s.places[:3]
    s.has(a, t)
    if s.rng.random() < 0.6:
        giver = s.grown_ups[0]
        s.has(a, t, "was_given", giver, b=giver)
    s.go(a, first)
    s.pause(a)
    s.go(a, second)
    s.pause(a)
    spot = s.take_spot(second)
    s.put(a, t, spot, second, hidden=False)
    s.go(a, third)
    s.pause(a)
    s.say("miss", a=a, t=t)
    s.say("sad_lost", a=a)
    s.meet(a, b)
    s.say("ask_where", a=a, b=b)
    s.go(a, first, b)
    s.say("look_no", a=a, b=b, p=first)
    s.pause(a, b)
    s.go(a, second, b)
    s.say("find_again", a=a, b=b, t=t, s=spot, p=second)
    s.has(a, t, "take_up")
    s.say("thanks", a=a, b=b)
    s.say("happy", a=a)


def hidden(s):
    a, b, t = s.hero, s.friend, s.thing()
    first, second, third = s.places[:3]
    s.has(a, t)
    s.introduce(b, "friend")
    s.go(a, first)
    spot = s.take_spot(first)
    s.put(a, t, spot, first, hidden=True)
    s.say("hide_why", a=a, b=b)
    s.go(a, second)
    s.pause(a)
    s.meet(a, b)
    s.pause(a, b)
    if s.rng.random() < 0.3:  # And there it stays.
        return
    s.go(a, third, b)
    s.pause(a, b)
    s.say("clue", a=a, b=b)
    s.go(a, first, b)
    s.say("forget_spot", a=a)
    s.say("remember_spot", a=a, s=spot, p=first)
    s.has(b, t, "pull_out", a, s=spot, b=b)
    s.say("thanks", a=b, b=a)


def promised(s):
    a, b, w = s.hero, s.friend, s.rng.choice(PROMISES)
    first, second, third = s.places[:3]
    s.go(a, first)
    s.meet(a, b)
    s.fact("promise", "promise", dict(a=a, b=b, w=w), who=a, what=w)
    s.pause(a, b)
    if s.rng.random() < 0.6:
        s.find(a, s.thing(), s.take_spot(first))
    s.go(a, second)
    other = s.cast[2]
    s.meet(a, other)
    s.pause(a, other)
    s.go(a, third)
    s.pause(a)
    s.teller.paragraph()
    s.say("almost_forgot", a=a)
    s.say("remember_promise", a=a, b=b, w=w)
    s.go(a, first)
    s.say("keep_promise", a=a, w=w)
    s.say("promise_kept", a=a, b=b)
    s.say("happy", a=a)


def lent(s):
    a, b = s.hero, s.friend
    t = s.thing(LEND_WHY)
    first, second, third = s.places[:3]
    s.has(a, t)
    s.go(a, first)
    s.meet(a, b)
    s.give(a, b, t, "lend", why=LEND_WHY[t.noun])
    s.say("thanks", a=b, b=a)
    s.go(a, second)
    s.pause(a)
    other = s.cast[3]
    s.meet(a, other)
    s.pause(a, other)
    if s.rng.random() < 0.5:
        s.give(a, other, new_find(s, a, second))
    s.go(a, third)
    s.pause(a)
    if s.rng.random() < 0.5:
        s.meet(a, b)
        s.give(b, a, t, "give_back")
        s.say("happy", a=a)


def new_find(s, a, place):
    thing = s.thing()
    s.find(a, thing, s.take_spot(place))
    return thing


def traded(s):
    a, mine = s.hero, s.thing()
    s.has(a, mine)
    for place, b in zip(s.places, s.rng.sample(s.cast[1:], 3)):
        s.go(a, place)
        s.meet(a, b)
        other = s.thing()
        s.has(b, other)
        s.pause(a, b)
        span = s.say("swap", a=a, b=b, t=mine, u=other, named=True)
        s.world.apply("has", span, who=a, to=b, thing=mine.key)
        s.world.apply("has", span, who=b, to=a, thing=other.key)
        mine = other
    s.say("happy", a=a)


def shared(s):
    """Finds things, and gives each to somebody else."""
    a, found = s.hero, []
    for place in s.places[:3]:
        s.go(a, place)
        s.pause(a)
        found.append(new_find(s, a, place))
    s.rng.shuffle(found)
    for place, b, t in zip(s.places[3:], s.cast[1:], found):
        s.go(a, place)
        s.meet(a, b)
        s.say("wish", a=a, b=b, t=t)
        s.give(a, b, t)
        s.say("thanks", a=b, b=a)
    s.say("happy", a=a)


def made(s):
    a = s.hero
    what, parts = s.rng.choice(MAKE)
    i, j, k = parts = [Part(p) for p in parts]
    s.say("want_make", a=a, m=what)
    s.say("need", a=a, i=i, j=j, k=k)
    helpers = s.rng.sample([*s.cast[1:3], *s.grown_ups[1:]], 3)
    for place, b, part in zip(s.places, helpers, parts):
        s.go(a, place)
        s.meet(a, b)
        s.say("ask_for", a=a, b=b, i=part)
        s.fact("get_part", "has", dict(a=a, b=b, i=part), who=b, to=a, thing=part.key)
        s.pause(a, b)
    s.go(a, s.places[3])
    s.fact("make_done", "made", dict(a=a, m=what), who=a, what=what)
    s.say("make_share", a=a)
    s.say("happy", a=a)


def quarreled(s):
    a, b, t = s.hero, s.friend, s.thing()
    first, second, third = s.places[:3]
    s.introduce(b, "friend")
    s.go(a, first, b)
    s.pause(a, b)
    s.find(a, t, s.take_spot(first))
    s.say("quarrel", a=a, b=b, t=t)
    s.say("part", a=a, t=t)
    s.go(a, second)
    s.pause(a)
    s.go(a, third)
    s.pause(a)
    s.meet(a, b)
    s.say("sorry", a=a, b=b)
    s.say("make_up", a=a, b=b)
    if s.rng.random() < 0.7:
        s.give(a, b, t)
    s.pause(a, b)


def sought(s):
    a, place = s.hero, s.places[0]
    s.go(a, place)
    hiders = s.cast[1:4]
    for b in hiders:
        s.meet(a, b)
    s.say("seek_start", a=a)
    spots = {b: s.take_spot(place) for b in hiders[:len(s.spots[place])]}
    for b, spot in spots.items():
        s.fact("hide_self", "hid", dict(a=b, s=spot, p=place), who=b, spot=spot)
    s.pause(a)
    for b in s.rng.sample(list(spots), len(spots)):
        s.teller.paragraph()
        s.say("found_self", a=a, b=b, s=spots[b], p=place)
    s.say("happy", a=a)


def sent(s):
    a, b, c, t, news = s.hero, s.grown_ups[0], s.grown_ups[1], s.thing(), s.rng.choice(NEWS)
    first, second, third, last = s.places[:4]
    s.go(a, first)
    s.meet(a, b)
    s.fact("errand", "has", dict(a=a, b=b, c=c, t=t), who=b, to=a, thing=t.key)
    s.fact("message", "news", dict(a=a, b=b, c=c, news=news), to=c, what=news)
    for place, other in ((second, s.cast[2]), (third, s.cast[3])):
        s.go(a, place)
        s.meet(a, other)
        s.say("tempt", a=a, b=other, c=c, t=t)
        s.pause(a)
    s.go(a, last)
    s.meet(a, c)
    s.give(a, c, t, "deliver", c=c)
    s.say("say_message", a=a, b=b, c=c, news=news)
    s.say("thanks", a=c, b=a)


def rescued(s):
    a, b, t = s.hero, s.cast[2], s.thing(PULLERS)
    first, second, third = s.places[:3]
    s.has(a, t)
    s.go(a, first)
    s.pause(a)
    s.go(a, second)
    spot = s.take_spot(second)
    s.fact("trouble", "stuck", dict(a=a, b=b, s=spot, p=second), who=b, spot=spot)
    s.introduce(b)
    s.say("use_thing", a=a, b=b, t=t)
    s.say("thanks", a=b, b=a)
    s.go(a, third)
    s.pause(a)
    s.teller.paragraph()
    s.say("lost_way", a=a)
    s.meet(a, b)
    s.say("repay", a=a, b=b, t=t)
    s.go(a, s.places[-1], b)


PLOTS = [lost, hidden, promised, lent, traded, shared, made, quarreled, sought, sent, rescued]
