"""`python -m aeraki_xds` is the command line."""

from aeraki_xds.cli import main

if __name__ == "__main__":
    main()
