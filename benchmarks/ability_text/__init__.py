"""The built-in ability items in our own words; ``make_abilities.py`` lays them out."""
