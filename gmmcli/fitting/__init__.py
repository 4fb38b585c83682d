"""How a mixture is fitted: the pass and its statistics, engines that move parameters, the loop around them."""
