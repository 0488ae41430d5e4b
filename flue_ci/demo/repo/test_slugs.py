import unittest

from slugs import slugify


class Slugify(unittest.TestCase):
    def test_words_are_joined_by_hyphens(self):
        self.assertEqual(slugify("Hello, brave new World!"), "hello-brave-new-world")

    def test_a_long_title_is_cut_between_words(self):
        self.assertEqual(slugify("one two three", limit=9), "one-two")

    def test_the_limit_counts_hyphens_too(self):
        self.assertEqual(slugify("one two three", limit=7), "one-two")
        self.assertEqual(slugify("one two three", limit=6), "one")

    def test_nothing_readable_gives_nothing(self):
        self.assertEqual(slugify("!?"), "")


if __name__ == "__main__":
    unittest.main()
