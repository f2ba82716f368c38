from vlagen.benchmark.digests import hash_files, hash_folder


def test_a_folders_hash_follows_names_and_contents(tmp_path):
    hashes = set()
    for place, (name, content) in enumerate([("a", "1"), ("a", "2"), ("b", "1")]):
        folder = tmp_path / str(place)
        folder.mkdir()
        (folder / name).write_text(content)
        hashes.add(hash_folder(folder))
    assert len(hashes) == 3
    assert hash_folder(tmp_path / "nothing") is None


def test_order_and_place_of_files_play_no_part(tmp_path):
    for folder in (tmp_path / "here", tmp_path / "there" / "deep"):
        folder.mkdir(parents=True)
        (folder / "one.py").write_text("1")
        (folder / "two.py").write_text("2")
    here, there = tmp_path / "here", tmp_path / "there" / "deep"
    expected = hash_files([("one.py", here / "one.py"), ("two.py", here / "two.py")])
    assert hash_files([("two.py", there / "two.py"), ("one.py", there / "one.py")]) == expected
    assert hash_folder(there) == expected
    assert hash_files([("two.py", here / "one.py"), ("one.py", here / "two.py")]) != expected
