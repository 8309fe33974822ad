from router.located import Document, where


def test_a_place_that_is_not_in_the_file_is_as_near_as_the_file_goes() -> None:
    document = Document("f.yaml", "a:\n  - b: 1\n")
    assert document.position(("a", 0, "b")) == (2, 8)
    assert document.position(("a", 0, "b"), key=True) == (2, 5)
    assert document.position(("a", 5, "b")) == (2, 3)
    assert document.position(("a", 0, "c")) == (2, 5)
    assert document.position(("a", 0, "b", "deeper")) == (2, 8)


def test_an_empty_file_is_wrong_at_its_start() -> None:
    document = Document("f.yaml", "")
    assert document.data is None
    assert document.at(("models",)) == "f.yaml:1:1"


def test_a_key_repeated_below_an_alias_is_told_once() -> None:
    document = Document("f.yaml", "a: &x {b: 1, b: 2}\nc: *x\n")
    assert document.repeated == ["f.yaml:1:14: a.b: given twice"]


def test_paths_are_written_as_people_write_them() -> None:
    assert where(("pools", 1, "device")) == "pools[1].device"
    assert where((0, "a")) == "[0].a"
    assert where(()) == ""
