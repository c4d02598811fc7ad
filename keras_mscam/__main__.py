"""`python -m keras_mscam`, as the command `keras_mscam`."""

from keras_mscam.cli.commands import main

if __name__ == "__main__":
    main()
