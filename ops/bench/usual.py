"""The comparator: the same three endpoints with FastAPI, SQLAlchemy 2, asyncpg and pydantic.

Written as their documentation writes it: mapped classes, a session for each request, response
models; pooled, on uvloop. It runs in a venv of its own, and tells less than ours: no links,
no validators, no limits on what is asked for.
"""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from decimal import Decimal
from os import environ
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Query
from pydantic import BaseModel, ConfigDict
from sqlalchemy import URL, BigInteger, DateTime, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

engine = create_async_engine(
    URL.create(
        "postgresql+asyncpg",
        username=environ["PGUSER"],
        database=environ["PGDATABASE"],
        query={"host": environ["PGHOST"]},
    ),
    pool_size=10,
    max_overflow=0,
)
sessions = async_sessionmaker(engine, expire_on_commit=False)
app = FastAPI()


class Base(DeclarativeBase):
    """What is mapped."""


class Price(Base):
    """A row of prices."""

    __tablename__ = "prices"

    ticker: Mapped[str] = mapped_column(primary_key=True)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), primary_key=True)
    id: Mapped[int] = mapped_column(BigInteger)
    price: Mapped[Decimal]


class PriceOut(BaseModel):
    """A price as it is answered."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    ticker: str
    price: Decimal
    created_at: datetime


async def session() -> AsyncIterator[AsyncSession]:
    """A session for one request."""
    async with sessions() as opened:
        yield opened


Session = Annotated[AsyncSession, Depends(session)]


@app.get("/prices", response_model=list[PriceOut])
async def prices(
    session: Session,
    ticker: str,
    start_date: datetime | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 50,
) -> Sequence[Price]:
    """The newest prices, or those from start_date back."""
    query = select(Price).where(Price.ticker == ticker)
    if start_date is not None:
        query = query.where(Price.created_at <= start_date)
    found = await session.scalars(query.order_by(Price.created_at.desc()).limit(limit))
    return found.all()


@app.get("/prices/last", response_model=PriceOut)
async def last(session: Session, ticker: str) -> Price:
    """The newest price."""
    newest = select(Price).where(Price.ticker == ticker).order_by(Price.created_at.desc()).limit(1)
    return _found(await session.scalar(newest))


@app.get("/prices/filtered", response_model=PriceOut)
async def filtered(session: Session, ticker: str, date: datetime) -> Price:
    """The price of a minute."""
    minute = date.replace(second=0, microsecond=0)
    asked = select(Price).where(Price.ticker == ticker, Price.created_at == minute)
    return _found(await session.scalar(asked))


def _found(price: Price | None) -> Price:
    if price is None:
        raise HTTPException(404, "no price")
    return price
