"""`python -m emergelab`: the command line, where the script is not on the path."""

from emergelab.cli import main

if __name__ == "__main__":
    main()
