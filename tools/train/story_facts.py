"""Questions about a told story, with their answers: [{question, answer, key, event}]. `key` is what a
right answer must say, word for word as the story told it."""


from story_teller import with_article


def capital(text):
    return text[0].upper() + text[1:]


def asked(question, answer, key, event):
    return {"question": capital(question), "answer": capital(answer), "key": key, "event": event}


def holder(world, event):
    person, thing = event["to"], event["thing"]
    if world.holder.get(thing) is person:
        yield asked(f"Who has the {thing} now?", f"{person.name} has the {thing}.", person.key, event)


def giver(world, event):
    giver, person, thing = event["who"], event["to"], event["thing"]
    gifts = [e for e in world.events if e["kind"] == "has" and e["who"]
             and (e["thing"], e["to"]) == (thing, person)]
    if gifts == [event]:
        yield asked(f"Who gave {person.name} the {thing}?",
                    f"{giver.name} gave {person.name} the {thing}.", giver.key, event)


def has(world, event):
    yield from holder(world, event)
    yield from giver(world, event)


def put(world, event):
    thing, spot, who = event["thing"], event["spot"], event["who"]
    if world.spot.get(thing) == spot:
        yield asked(f"Where is the {thing} now?", f"The {thing} is {spot}.", spot, event)
    if event["hidden"]:
        yield asked(f"Where did {who.name} hide the {thing}?", f"{who.name} hid the {thing} {spot}.",
                    spot, event)
    else:
        yield asked(f"Where was the {thing} lost?", f"The {thing} was lost {spot}.", spot, event)


def find(world, event):
    who, thing, spot = event["who"], event["thing"], event["spot"]
    yield asked(f"Where did {who.name} find the {thing}?", f"{who.name} found the {thing} {spot}.",
                spot, event)
    if world.holder.get(thing) is who and world.last(thing) is event:
        yield asked(f"Who has the {thing} now?", f"{who.name} has the {thing}.", who.key, event)


def at(world, event):
    who, place = event["who"], event["place"]
    if world.last_at(who) is event and who in world.place:
        yield asked(f"Where is {who.name} at the end?", f"{who.name} is {place}.", place, event)


def hid(world, event):
    yield asked(f"Where did {event['who'].name} hide?", f"{event['who'].name} hid {event['spot']}.",
                event["spot"], event)


def stuck(world, event):
    yield asked(f"Where was {event['who'].name} stuck?", f"{event['who'].name} was stuck {event['spot']}.",
                event["spot"], event)


def promise(world, event):
    who, what = event["who"], event["what"]
    yield asked(f"What did {who.name} promise to do?", f"{who.name} promised to {what}.", what, event)


def kind(world, event):
    who = event["who"]
    if who.animal:
        yield asked(f"What kind of animal is {who.name}?", f"{who.name} is {with_article(who.kind)}.",
                    who.kind, event)
        yield asked(f"What is the name of the {who.kind}?", f"The {who.kind} is named {who.name}.",
                    who.key, event)


def news(world, event):
    yield asked(f"What was the message for {event['to'].name}?", f"The message was that {event['what']}.",
                event["what"], event)


def made(world, event):
    yield asked(f"What did {event['who'].name} make?", f"{event['who'].name} made {event['what']}.",
                event["what"], event)


def questions(world, text):
    """All that can be asked and whose key stands in what told it."""
    found = [q for event in world.events for q in globals()[event["kind"]](world, event)]
    return [q for q in found if q["key"].lower() in text[q["event"]["start"]:q["event"]["end"]].lower()]
