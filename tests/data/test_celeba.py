from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ppl_vae.data.celeba import load_celeba
from ppl_vae.data.split import SPLIT_NOTE, split_indices
from ppl_vae.errors import DataError

from .builders import CELEBA_NAMES, celeba_table, write, write_celeba


def _partition(folder: Path, codes: str) -> None:
    rows = "".join(f"{i + 1:06d}.jpg {code}\n" for i, code in enumerate(codes))
    write(folder / "list_eval_partition.txt", rows.encode())


def test_the_middle_square_and_the_attributes(tmp_path: Path) -> None:
    dataset = load_celeba(root=write_celeba(tmp_path), size=6)
    train, _ = split_indices(8, "")
    assert dataset.event_shape == (3, 6, 6)
    assert dataset.factor_names == CELEBA_NAMES
    colours = np.array([(20 * i, 100, 200) for i in train])[:, :, None, None] / 255
    np.testing.assert_allclose(dataset.train.x, np.broadcast_to(colours, (7, 3, 6, 6)), atol=1e-7)
    assert dataset.train.factors is not None
    np.testing.assert_array_equal(dataset.train.factors, [[i & 1, i >> 1 & 1, i >> 2 & 1] for i in train])
    assert SPLIT_NOTE in dataset.notes


def test_the_partition_file_splits_and_validation_is_train(tmp_path: Path) -> None:
    _partition(write_celeba(tmp_path), "20100212")
    dataset = load_celeba(root=tmp_path, size=4)
    assert (dataset.train.x[:, 0, 0, 0] * 255 / 20).round().tolist() == [1, 2, 3, 4, 6]
    assert (dataset.test.x[:, 0, 0, 0] * 255 / 20).round().tolist() == [0, 5, 7]
    assert "split by list_eval_partition.txt: 0 and 1 are train, 2 is test" in dataset.notes


def test_found_in_a_subfolder_and_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_celeba(tmp_path / "celeba")
    monkeypatch.setenv("PPL_VAE_DATA", str(tmp_path))
    assert load_celeba().train.x.equal(load_celeba(root=tmp_path).train.x)
    monkeypatch.delenv("PPL_VAE_DATA")
    with pytest.raises(DataError, match="celeba: expected root= or PPL_VAE_DATA to name the folder"):
        load_celeba()


def test_limit(tmp_path: Path) -> None:
    dataset = load_celeba(root=write_celeba(tmp_path), size=4, limit=5)
    assert (len(dataset.train), len(dataset.test)) == (4, 1)
    assert "5 of 8 images, drawn at random under the fixed seed 0" in dataset.notes


def _edit(old: str, new: str) -> str:
    table = celeba_table(8)
    assert old in table
    return table.replace(old, new, 1)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (_edit("8\n", "9\n"), "line 1: expected the count of rows, 8, found '9'"),
        (_edit("Bald Male", "Male Male"), "line 2: expected the attributes' names, each once"),
        (
            _edit("000002.jpg 1", "000002.jpg 0"),
            "line 4: expected a file name and 3 of -1, 1, found '000002.jpg 0",
        ),
        (_edit("000003.jpg -1", "000003.jpg"), "line 5: expected a file name and 3 of"),
        (_edit("000003.jpg", "000002.jpg"), "expected each image once, found 000002.jpg twice"),
        (_edit("000003.jpg", "000033.jpg"), "every image of .* found 1 absent, the first 000033.jpg"),
        (_edit("000003.jpg", "../../etc/passwd"), "1 absent, the first ../../etc/passwd"),
        ("8\n", "expected a count, a line of names and rows, found 1 lines"),
        ("\udcff", "expected a table of CelebA, found UnicodeDecodeError"),
    ],
)
def test_what_is_wrong_with_the_table_is_said(table: str, message: str, tmp_path: Path) -> None:
    write(write_celeba(tmp_path) / "list_attr_celeba.txt", table.encode(errors="surrogateescape"))
    with pytest.raises(DataError, match=message):
        load_celeba(root=tmp_path)


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        ("2010021", "expected 8 rows, as many as images with attributes, found 7"),
        ("20100213", "line 8: expected a file name and 1 of 0, 1, 2"),
        ("01010101", "found 8 and 0"),
    ],
)
def test_what_is_wrong_with_the_partition_is_said(codes: str, message: str, tmp_path: Path) -> None:
    _partition(write_celeba(tmp_path), codes)
    with pytest.raises(DataError, match=f"list_eval_partition.txt: .*{message}"):
        load_celeba(root=tmp_path)


def test_a_partition_of_other_images(tmp_path: Path) -> None:
    write(write_celeba(tmp_path) / "list_eval_partition.txt", b"".join(b"%d.jpg 0\n" % i for i in range(8)))
    with pytest.raises(DataError, match=r"found none for 000001.jpg"):
        load_celeba(root=tmp_path)


def test_missing_parts_and_damaged_images(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"celeba: expected a folder img_align_celeba in one of .*found none"):
        load_celeba(root=tmp_path)
    write_celeba(tmp_path)
    write(tmp_path / "img_align_celeba" / "000004.jpg", b"\xff\xd8 broken")
    with pytest.raises(DataError, match=r"000004.jpg: expected an image"):
        load_celeba(root=tmp_path)
    (tmp_path / "list_attr_celeba.txt").unlink()
    with pytest.raises(DataError, match=r"list_attr_celeba.txt: .* no such file"):
        load_celeba(root=tmp_path)
