#!/usr/bin/env python3
"""Writes a training and an evaluation set of grade-school word problems, made here from templates.

Each record has the fields "question" and "answer"; the answer is a worked solution in plain
sentences whose last line is "#### n". The two sets share no question. The same seed gives the same
bytes. Standard library only, no external data.

    scripts/make_demo_data.py --out build/demo --train 400 --eval 64
"""

import argparse
import json
import os
import random
import sys

PEOPLE = [
    ("Amara", "she", "her"), ("Bjorn", "he", "his"), ("Carla", "she", "her"),
    ("Dmitri", "he", "his"), ("Esther", "she", "her"), ("Farid", "he", "his"),
    ("Greta", "she", "her"), ("Hiro", "he", "his"), ("Ines", "she", "her"),
    ("Jonas", "he", "his"), ("Keiko", "she", "her"), ("Luis", "he", "his"),
    ("Maya", "she", "her"), ("Nadir", "he", "his"), ("Olga", "she", "her"),
    ("Pedro", "he", "his"), ("Quinn", "she", "her"), ("Ravi", "he", "his"),
    ("Sofia", "she", "her"), ("Tomas", "he", "his"),
]
GOODS = ["notebooks", "pencils", "stickers", "marbles", "postcards", "buttons", "seashells",
         "coins", "beads", "trading cards"]
FOODS = ["muffins", "cookies", "bagels", "dumplings", "pancakes", "sandwiches", "cupcakes"]
FRUITS = ["apples", "pears", "oranges", "plums", "peaches", "lemons", "mangoes"]
SHOPS = ["bakery", "market stall", "corner shop", "school fair", "farm stand"]
PLACES = ["library", "museum", "lake", "train station", "stadium", "castle"]
DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday"]


def cap(word):
    return word[0].upper() + word[1:]


def savings(r):
    name, he, his = r.choice(PEOPLE)
    week, weeks, spent = r.randint(3, 25), r.randint(4, 12), r.randint(5, 40)
    total = week * weeks
    spent = min(spent, total - 1)
    question = (f"{name} saves ${week} of {his} pocket money every week for {weeks} weeks. Then {he} "
                f"spends ${spent} on a present. How many dollars does {name} have left?")
    steps = [f"{name} saves {week} * {weeks} = {total} dollars in {weeks} weeks.",
             f"After buying the present {he} has {total} - {spent} = {total - spent} dollars left."]
    return question, steps, total - spent


def sharing(r):
    name, he, _ = r.choice(PEOPLE)
    item, friends, each = r.choice(GOODS), r.randint(3, 9), r.randint(4, 15)
    kept = r.randint(2, 20)
    total = friends * each + kept
    question = (f"{name} has {total} {item}. {cap(he)} keeps {kept} of them and shares the rest equally "
                f"among {friends} friends. How many {item} does each friend get?")
    steps = [f"After keeping {kept}, there are {total} - {kept} = {total - kept} {item} to share.",
             f"Each friend gets {total - kept} / {friends} = {each} {item}."]
    return question, steps, each


def baking(r):
    name, he, _ = r.choice(PEOPLE)
    food, trays, per_tray = r.choice(FOODS), r.randint(3, 9), r.randint(6, 16)
    price, burnt = r.randint(2, 5), r.randint(2, 10)
    made = trays * per_tray
    good = made - burnt
    question = (f"{name} bakes {trays} trays of {food} with {per_tray} on each tray. {burnt} of the "
                f"{food} burn and cannot be sold. {cap(he)} sells the others for ${price} each. How "
                f"many dollars does {name} earn?")
    steps = [f"{name} bakes {trays} * {per_tray} = {made} {food}.",
             f"{cap(he)} can sell {made} - {burnt} = {good} of them.",
             f"{cap(he)} earns {good} * {price} = {good * price} dollars."]
    return question, steps, good * price


def trip(r):
    name, he, _ = r.choice(PEOPLE)
    place, speed, hours = r.choice(PLACES), r.randint(8, 60), r.randint(2, 6)
    more = r.randint(5, 45)
    question = (f"{name} rides at {speed} kilometers per hour for {hours} hours and then rides "
                f"another {more} kilometers to reach the {place}. {cap(he)} returns the same way. How "
                f"many kilometers does {name} travel in all?")
    there = speed * hours + more
    steps = [f"In {hours} hours {name} rides {speed} * {hours} = {speed * hours} kilometers.",
             f"The way to the {place} is {speed * hours} + {more} = {there} kilometers.",
             f"There and back is {there} * 2 = {there * 2} kilometers."]
    return question, steps, there * 2


def reading(r):
    name, he, _ = r.choice(PEOPLE)
    first, second, days = r.randint(8, 30), r.randint(10, 40), r.randint(3, 8)
    rest = second * days
    total = first + rest
    question = (f"{name} is reading a book of {total} pages. {cap(he)} reads {first} pages on the first "
                f"day and {second} pages on each day after that. How many days does it take {name} to "
                f"finish the book?")
    steps = [f"After the first day {total} - {first} = {rest} pages are left.",
             f"At {second} pages a day they take {rest} / {second} = {days} days.",
             f"With the first day that is {days} + 1 = {days + 1} days."]
    return question, steps, days + 1


def orchard(r):
    fruit, rows, trees, each = (r.choice(FRUITS), r.randint(3, 8), r.randint(4, 12),
                                r.randint(10, 30))
    box = r.choice([k for k in (2, 3, 4, 5, 6, 8, 10) if rows * trees * each % k == 0] or [1])
    total = rows * trees * each
    question = (f"An orchard has {rows} rows of {trees} trees. Each tree gives {each} {fruit}, which "
                f"are packed in boxes of {box}. How many boxes are filled?")
    steps = [f"There are {rows} * {trees} = {rows * trees} trees.",
             f"They give {rows * trees} * {each} = {total} {fruit}.",
             f"That fills {total} / {box} = {total // box} boxes."]
    return question, steps, total // box


def ages(r):
    (old, _, _), (young, he, _) = r.sample(PEOPLE, 2)
    age, times, years = r.randint(4, 14), r.randint(2, 4), r.randint(2, 12)
    question = (f"{old} is {times} times as old as {young}, who is {age} years old. What will be the "
                f"sum of their ages in {years} years?")
    steps = [f"{old} is {times} * {age} = {times * age} years old.",
             f"In {years} years {old} will be {times * age} + {years} = {times * age + years}.",
             f"By then {young} will be {age} + {years} = {age + years}.",
             f"The sum is {times * age + years} + {age + years} = "
             f"{times * age + age + 2 * years}."]
    return question, steps, times * age + age + 2 * years


def classroom(r):
    groups, size, absent, sheets = (r.randint(3, 8), r.randint(3, 7), r.randint(1, 5),
                                    r.randint(2, 6))
    total = groups * size
    question = (f"A class has {groups} tables with {size} students at each. Today {absent} students "
                f"are ill. The teacher gives {sheets} sheets of paper to every student who is there. "
                f"How many sheets does the teacher hand out?")
    steps = [f"The class has {groups} * {size} = {total} students.",
             f"Today {total} - {absent} = {total - absent} of them are there.",
             f"The teacher hands out {total - absent} * {sheets} = {(total - absent) * sheets} sheets."]
    return question, steps, (total - absent) * sheets


def wages(r):
    name, he, _ = r.choice(PEOPLE)
    day, rate, hours, extra = r.choice(DAYS), r.randint(9, 24), r.randint(4, 8), r.randint(1, 4)
    bonus = rate + r.randint(2, 8)
    base = rate * hours
    question = (f"{name} earns ${rate} an hour. On {day} {he} works {hours} hours and then {extra} "
                f"extra hours, which are paid at ${bonus} an hour. How many dollars does {name} earn "
                f"on {day}?")
    steps = [f"For the first {hours} hours {name} earns {rate} * {hours} = {base} dollars.",
             f"For the extra hours {he} earns {bonus} * {extra} = {bonus * extra} dollars.",
             f"In all {he} earns {base} + {bonus * extra} = {base + bonus * extra} dollars."]
    return question, steps, base + bonus * extra


def shopping(r):
    name, he, _ = r.choice(PEOPLE)
    shop, (first, second) = r.choice(SHOPS), r.sample(FRUITS, 2)
    count_a, price_a = r.randint(2, 9), r.randint(1, 4)
    count_b, price_b = r.randint(2, 9), r.randint(1, 4)
    cost_a, cost_b = count_a * price_a, count_b * price_b
    note = next(n for n in (10, 20, 50, 100) if n > cost_a + cost_b)
    question = (f"At the {shop} {name} buys {count_a} {first} at ${price_a} each and {count_b} {second} "
                f"at ${price_b} each. {cap(he)} pays with a ${note} note. How many dollars of change "
                f"does {name} get?")
    steps = [f"The {first} cost {count_a} * {price_a} = {cost_a} dollars.",
             f"The {second} cost {count_b} * {price_b} = {cost_b} dollars.",
             f"Together that is {cost_a} + {cost_b} = {cost_a + cost_b} dollars.",
             f"The change is {note} - {cost_a + cost_b} = {note - cost_a - cost_b} dollars."]
    return question, steps, note - cost_a - cost_b


def tank(r):
    fill, leak, minutes = r.randint(12, 40), r.randint(2, 9), r.randint(5, 30)
    start = r.randint(10, 90)
    gain = (fill - leak) * minutes
    question = (f"A water tank holds {start} liters. A pump adds {fill} liters every minute, while "
                f"{leak} liters leak out every minute. How many liters are in the tank after "
                f"{minutes} minutes?")
    steps = [f"Every minute the tank gains {fill} - {leak} = {fill - leak} liters.",
             f"In {minutes} minutes it gains {fill - leak} * {minutes} = {gain} liters.",
             f"Then it holds {start} + {gain} = {start + gain} liters."]
    return question, steps, start + gain


def half_as_many(r):
    (first, _, _), (second, _, _), (third, _, _) = r.sample(PEOPLE, 3)
    item, half, more = r.choice(GOODS), r.randint(6, 40), r.randint(3, 20)
    question = (f"{first} collects {2 * half} {item}. {second} collects half as many, and {third} "
                f"collects {more} more than {second}. How many {item} do the three have altogether?")
    steps = [f"{second} collects {2 * half} / 2 = {half} {item}.",
             f"{third} collects {half} + {more} = {half + more} {item}.",
             f"{first} and {second} have {2 * half} + {half} = {3 * half} {item}.",
             f"All three have {3 * half} + {half + more} = {4 * half + more} {item}."]
    return question, steps, 4 * half + more


def percent(r):
    name, he, _ = r.choice(PEOPLE)
    rate, hundreds = r.choice([5, 10, 20, 25, 30, 40]), r.randint(1, 8)
    price, shipping = hundreds * 100, r.randint(5, 25)
    cut = price * rate // 100
    question = (f"A bicycle costs ${price}. {name} gets {rate} percent off and pays ${shipping} for "
                f"delivery. How many dollars does {he} pay?")
    steps = [f"One percent of the price is {price} / 100 = {hundreds} dollars.",
             f"The discount is {hundreds} * {rate} = {cut} dollars.",
             f"The bicycle then costs {price} - {cut} = {price - cut} dollars.",
             f"With delivery {name} pays {price - cut} + {shipping} = {price - cut + shipping} "
             f"dollars."]
    return question, steps, price - cut + shipping


def garden(r):
    name, he, his = r.choice(PEOPLE)
    length, width, gate, price = (r.randint(6, 30), r.randint(4, 20), r.randint(1, 3),
                                  r.randint(2, 9))
    side = length + width
    fence = 2 * side - gate
    question = (f"{name} puts a fence around {his} garden, which is {length} meters long and {width} "
                f"meters wide. {cap(he)} leaves a gap of {gate} meters for a gate. A meter of fence costs "
                f"${price}. How many dollars does the fence cost?")
    steps = [f"One long and one short side are {length} + {width} = {side} meters.",
             f"All the way round is {side} * 2 = {2 * side} meters.",
             f"Without the gate that is {2 * side} - {gate} = {fence} meters.",
             f"The fence costs {fence} * {price} = {fence * price} dollars."]
    return question, steps, fence * price


TEMPLATES = [savings, sharing, baking, trip, reading, orchard, ages, classroom, wages, shopping,
             tank, half_as_many, percent, garden]


def make_records(count, seed):
    """`count` records with different questions, the templates in turn."""
    r = random.Random(seed)
    questions = set()
    records = []
    while len(records) < count:
        question, steps, result = TEMPLATES[len(records) % len(TEMPLATES)](r)
        if question in questions:
            continue
        questions.add(question)
        records.append({"question": question, "answer": "\n".join(steps) + f"\n#### {result}"})
    r.shuffle(records)
    return records


def write(path, records):
    with open(path, "w", encoding="utf-8", newline="\n") as out:
        for record in records:
            out.write(json.dumps(record, ensure_ascii=False) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--out", required=True, help="folder for train.jsonl and eval.jsonl")
    parser.add_argument("--train", type=int, default=400, help="training records")
    parser.add_argument("--eval", type=int, default=64, help="evaluation records")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    # Far below what the templates can tell apart, so that make_records ends.
    if options.train < 1 or options.eval < 1 or options.train + options.eval > 10000:
        parser.error("--train and --eval must be at least 1 and together at most 10000")
    records = make_records(options.train + options.eval, options.seed)
    os.makedirs(options.out, exist_ok=True)
    write(os.path.join(options.out, "train.jsonl"), records[: options.train])
    write(os.path.join(options.out, "eval.jsonl"), records[options.train:])
    return 0


if __name__ == "__main__":
    sys.exit(main())
