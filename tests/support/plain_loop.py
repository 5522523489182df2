"""A training loop without Lightning and without this package: what guards and monitors are compared with."""

from contextlib import nullcontext

import torch


def plain_loop(
    model, make_optimizer, batches, *, region=None, guard_from=0, accumulate=1, clip=None, leave_out=(),
    autocast=None, scaled=False,
):  # fmt: skip
    """Optimizer steps by hand: a guarded region is a dense mask, zeroed before clipping and written back afterwards.

    Args:
        model: trained in place, on its own device.
        make_optimizer: from two groups, matrices and vectors without decay.
        batches: micro-batches, ``accumulate`` of them a step.
        region: what to guard.
        guard_from: the first guarded step.
        accumulate: micro-batches a step.
        clip: the largest gradient norm.
        leave_out: steps that are not made.
        autocast: the dtype of forward passes, if it is not that of the weights.
        scaled: whether a ``GradScaler`` scales the loss.
    """
    parameters = dict(model.named_parameters())
    matrices, vectors = ([p for p in parameters.values() if (p.ndim >= 2) is m] for m in (True, False))
    optimizer = make_optimizer([{"params": matrices}, {"params": vectors, "weight_decay": 0.0}])
    device = matrices[0].device
    scaler = torch.amp.GradScaler(device.type, enabled=scaled)
    masks = {}
    for name, indices in region or ():
        masks[name] = torch.zeros(parameters[name].numel(), dtype=torch.bool, device=device)
        masks[name][indices.to(device)] = True
    kept = None
    model.train()
    for step in range(len(batches) // accumulate):
        if step in leave_out:
            continue
        for batch in batches[step * accumulate : (step + 1) * accumulate]:
            ids, labels = batch["input_ids"].to(device), batch["shift_labels"].to(device).flatten()
            with nullcontext() if autocast is None else torch.autocast(device.type, autocast):
                logits = model(input_ids=ids, use_cache=False).logits.flatten(0, 1)
                loss = torch.nn.functional.cross_entropy(logits.float(), labels, reduction="sum")
                scaler.scale(loss / labels.numel() / accumulate).backward()
        guarded = masks if step >= guard_from else {}
        if guarded and kept is None:
            kept = {name: parameters[name].detach().clone().view(-1)[mask] for name, mask in masks.items()}
        if clip is not None:
            scaler.unscale_(optimizer)
        for name, mask in guarded.items():
            parameters[name].grad.view(-1)[mask] = 0.0
        if clip is not None:
            torch.nn.utils.clip_grad_norm_([*matrices, *vectors], clip)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        for name, mask in guarded.items():
            parameters[name].data.view(-1)[mask] = kept[name]
    return optimizer
