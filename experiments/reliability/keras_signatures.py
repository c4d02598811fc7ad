"""A pytest plugin for mutmut: shows Keras the arguments of functions in wrappers.

A Keras layer takes its arguments from `inspect.getfullargspec`, which doesn't look
through the wrapper that mutmut puts around every function.
"""

import inspect

_getfullargspec = inspect.getfullargspec
inspect.getfullargspec = lambda function: _getfullargspec(inspect.unwrap(function))
