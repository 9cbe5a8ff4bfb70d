"""`python -m lockmigrate`."""

from lockmigrate.cli import run

if __name__ == "__main__":
    run()
