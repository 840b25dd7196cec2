"""Errors of the package: their messages."""

from laconic.errors import InputError, MissingPackageError


def test_messages_of_other_libraries_become_one_line() -> None:
    assert str(InputError("input.star: not readable (line 3:\n  a b\n)")) == (
        "input.star: not readable (line 3: a b )"
    )
    assert str(InputError("two  spaces stay")) == "two  spaces stay"
    assert str(InputError()) == ""
    assert (
        str(InputError('convert it with\npython -c "..." net.pt\nand shrink it')).count("\n") == 2
    )


def test_missing_packages_say_what_to_install() -> None:
    error = MissingPackageError("reading a configuration needs", "PyYAML", "train")
    assert str(error).startswith("reading a configuration needs PyYAML: pip install 'laconic-codec")
