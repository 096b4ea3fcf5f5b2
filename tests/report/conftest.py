"""What the search still asks of the configuration, until it asks for amounts; to be dropped with the last who do."""

import lstmreg.config

if not hasattr(lstmreg.config, "Plan"):
    lstmreg.config.Plan = lstmreg.config.Amount
    lstmreg.config.PLANS = lstmreg.config.AMOUNTS
