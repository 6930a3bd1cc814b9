# SPDX-License-Identifier: GPL-2.0-only
"""Tests of the summary, the pictures and the page."""

import unittest
from html.parser import HTMLParser

from study import lanes, sample
from study.chart import Axis
from study.model import build
from study.overview import WIDTH, overview
from study.page import page
from study.story import story
from study.text import summary
from study.trace import parse
from study.words import announced, duration, moment, outcome, span

_VOID = {"meta", "br"}


def model(text):
    return build(parse(text))


class Reader(HTMLParser):
    """Checks that elements are closed, and collects what a test wants to know."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.texts, self.links = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == [], self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for key, value in attrs if key in ("src", "href")]
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, tag

    def handle_data(self, data):
        self.texts.append(data)


class Words(unittest.TestCase):
    def test_numbers(self):
        self.assertEqual([duration(t) for t in (None, 0, 999, 1000, 99_999, 100_000, 2_500_000)],
                         ["-", "0 µs", "999 µs", "1.00 ms", "100.00 ms", "100 ms", "2.50 s"])
        self.assertEqual(moment(6_691_234), "6,691.234 ms")
        self.assertEqual([outcome(ret) for ret in (0, 4096, -17, -9999)],
                         ["done", "4,096 bytes", "EEXIST", "-9999"])
        self.assertEqual(span(0x1000, 4096), "1 page at 0x1000")
        self.assertEqual(span(0, (1 << 64) - 1), "everybody")


    def test_events(self):
        f = {"arg0": 0x1000, "arg1": 0x3000, "arg2": 0x1000}
        self.assertEqual([announced({"kind": kind, **f}) for kind in ("fork", "remap", "unmap")],
                         ["fork, the child has context 4096", "remap of 1 page at 0x1000 to 0x3000",
                          "unmap of 2 pages at 0x1000"])


class Summary(unittest.TestCase):
    def test_one_fault(self):
        text = summary("title", model(sample.single()))
        self.assertIn("1 context, 2 threads, 1 fault, 0 events, 0 anomalies", text)
        row = next(line for line in text.splitlines() if line.startswith("1.1"))
        self.assertEqual(row.split(), ["1.1", "faulter", "0x7fb88a5c5000", "missing,", "write",
                                       "10", "µs", "100", "µs", "5", "µs", "woken"])
        self.assertIn("1 x COPY: done", text)
        self.assertNotIn("ANOMALY", text)

    def test_many_are_not_all_listed(self):
        text = summary("title", model(sample.crowd(30)))
        self.assertIn("and 10 more", text)
        self.assertIn("30 x COPY: done", text)

    def test_anomalies(self):
        text = summary("title", model(sample.trace(*list(sample.fault(1, 48, 1))[:-1])))
        self.assertIn("ANOMALY: fault 1.1 of faulter: never over", text)

    def test_nothing(self):
        self.assertIn("0 faults", summary("title", model("")))


class Time(unittest.TestCase):
    def test_order_and_room(self):
        times = [0, 1, 2, 3, 10, 1_000_000, 1_000_001, 5_000_000]
        axis = Axis(times, 100, 1000)
        self.assertEqual(axis.places, sorted(axis.places))
        self.assertAlmostEqual(axis.places[0], 100)
        self.assertAlmostEqual(axis.places[-1], 1100, delta=1)
        self.assertEqual([gap for *_, gap in axis.cuts][-1], 3_999_999)
        self.assertTrue(all(b - a >= 1.9 for a, b in zip(axis.places, axis.places[1:])))

    def test_in_proportion(self):
        axis = Axis(range(0, 100, 10), 0, 900)
        self.assertEqual(axis.cuts, [])
        self.assertAlmostEqual(axis.x(45), 450, delta=1)
        self.assertEqual((axis.x(-5), axis.x(500)), (axis.places[0], axis.places[-1]))

    def test_hardly_anything(self):
        self.assertEqual(Axis([], 5, 10).x(3), 5)
        self.assertEqual(Axis([7, 7], 5, 10).x(7), 5)
        self.assertAlmostEqual(Axis([7, 9], 5, 10).x(9), 15, delta=0.1)


class Lanes(unittest.TestCase):
    def test_contexts_between_those_who_act_and_those_who_wait(self):
        cast = lanes.assign(model(sample.single()))
        self.assertEqual([lane.name for lane in cast.lanes], ["manager", "context 1", "faulter"])
        self.assertEqual((cast.place("thread", 48), cast.place("thread", 7)), (2, None))

    def test_who_gives_a_context_back_does_not_act(self):
        last = sample.line("faulter", 48, 1_900_000, "uffd_ctx_free", "ctx=1")
        cast = lanes.assign(model(sample.trace(*sample.begin(), *sample.fault(1, 48, 1), last)))
        self.assertEqual([lane.name for lane in cast.lanes], ["manager", "context 1", "faulter"])

    def test_a_crowd_is_cut(self):
        for count, shown in ((10, 10), (11, 6), (300, 6)):
            cast = lanes.assign(model(sample.crowd(count)))
            self.assertEqual((len(cast.lanes), len(cast.hidden)), (shown + 2, count - shown))


class Pictures(unittest.TestCase):
    def test_nothing_leaves_the_picture(self):
        for text in (sample.single(), sample.crowd(10), sample.crowd(300)):
            found = model(text)
            cast = lanes.assign(found)
            for chart in (overview(found, cast), story(found, cast)):
                self.assertEqual(chart.width, WIDTH)
                for shape in chart.shapes:
                    at = shape.attributes
                    if shape.tag == "rect":
                        self.assertGreaterEqual(at["x"], 0)
                        self.assertLessEqual(at["x"] + at["width"], WIDTH + 0.2)
                        self.assertLessEqual(at["y"] + at["height"], chart.height)
                    if shape.tag == "text":
                        self.assertLessEqual(at["y"], chart.height)
                        long = 7 * len(shape.text) * (at["text-anchor"] == "start")
                        self.assertLessEqual(at["x"] + long, WIDTH + 60, shape.text)

    def test_a_row_for_each_step(self):
        found = model(sample.single())
        texts = [shape.text for shape in story(found, lanes.assign(found)).shapes]
        for step in found.steps:
            self.assertIn(f"{found.name(step.thread)}: {step.text}", texts)

    def test_life_of_a_fault_in_both(self):
        found = model(sample.single())
        for chart in (overview(found, lanes.assign(found)), story(found, lanes.assign(found))):
            classes = [shape.attributes["class"] for shape in chart.shapes]
            self.assertEqual([classes.count(cls) for cls in ("unread", "read", "woken")], [1, 1, 1])

    def test_the_crowd_is_told_in_few_rows(self):
        found = model(sample.crowd(300))
        chart = story(found, lanes.assign(found))
        self.assertLess(len(chart.shapes), 400)
        words = " ".join(shape.text for shape in chart.shapes)
        self.assertIn("the others: ", words)


class Page(unittest.TestCase):
    def test_is_whole_and_needs_nothing_else(self):
        for text in (sample.single(), sample.crowd(60), ""):
            read = Reader(page("name", "what it is", "rust", model(text)))
            self.assertEqual(read.links, [])
            self.assertNotIn("script", read.tags)
            self.assertEqual(read.tags.count("html"), 1)

    def test_all_faults_are_in_the_table(self):
        text = page("name", "what it is", "rust", model(sample.crowd(60)))
        self.assertEqual(text.count('<td class="code">0x'), 60)
        self.assertIn("20 more", text)

    def test_what_others_wrote_is_quoted(self):
        note = sample.line("manager", 46, 1_000_250, "tracing_mark_write", "study: <b> & </svg>")
        text = page("<i>", "a", "b", model(sample.trace(*sample.begin(), note, *sample.end())),
                    ["<bad>"], ["<report>"])
        for raw in ("<i>", "<b>", "<bad>", "<report>"):
            self.assertNotIn(raw, text)
        self.assertIn("&lt;b&gt; &amp; &lt;/svg&gt;", text)
        Reader(text)

    def test_colours_for_both_themes(self):
        text = page("name", "what it is", "rust", model(sample.single()))
        light, dark = text.split("prefers-color-scheme: dark", 1)
        for name in ("paper", "ink", "unread", "read", "woken", "bad"):
            self.assertIn(f"--{name}: #", light)
            self.assertIn(f"--{name}: #", dark)


if __name__ == "__main__":
    unittest.main()
