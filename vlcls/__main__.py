"""`python -m vlcls`, and so `accelerate launch -m vlcls ...`."""

from vlcls.cli import main

if __name__ == "__main__":
    main()
