"""The order in which tests run."""


def test_modules_with_a_slow_test_come_first_and_stay_together(request):
    items = request.session.items
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    first = [item.path in slow for item in items]
    assert first == sorted(first, reverse=True)
    paths = [item.path for item in items]
    begun = [path for path, before in zip(paths, [None, *paths], strict=False) if path != before]
    assert len(begun) == len(set(begun))
