"""The terminal screen of a recording session: `status` what came, `view` what to show of it, `app` the screen."""
