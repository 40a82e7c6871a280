"""Comparator (a): the same three endpoints with FastAPI, SQLAlchemy 2, asyncpg and pydantic.

It follows their documentation: mapped classes, a session for each request, response models; with
a pool, on uvloop. It has no links, validators, request ids, metrics or time limits.
"""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Query
from pydantic import BaseModel, ConfigDict
from sqlalchemy import BigInteger, DateTime, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

engine = create_async_engine(
    "postgresql+asyncpg://", pool_size=10, max_overflow=0
)  # PGHOST and so on
sessions = async_sessionmaker(engine, expire_on_commit=False)
app = FastAPI()


class Base(DeclarativeBase):
    """The mapped classes."""


class Price(Base):
    """A row of prices."""

    __tablename__ = "prices"

    ticker: Mapped[str] = mapped_column(primary_key=True)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), primary_key=True)
    id: Mapped[int] = mapped_column(BigInteger)
    price: Mapped[Decimal]


class PriceOut(BaseModel):
    """A price in a response."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    ticker: str
    price: Decimal
    created_at: datetime


async def open_session() -> AsyncIterator[AsyncSession]:
    """A session for one request."""
    async with sessions() as session:
        yield session


Session = Annotated[AsyncSession, Depends(open_session)]


@app.get("/prices", response_model=list[PriceOut])
async def list_prices(
    session: Session,
    ticker: str,
    start_date: datetime | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 50,
) -> Sequence[Price]:
    """The newest prices, or those from start_date back."""
    query = select(Price).where(Price.ticker == ticker)
    if start_date is not None:
        query = query.where(Price.created_at <= start_date)
    prices = await session.scalars(query.order_by(Price.created_at.desc()).limit(limit))
    return prices.all()


@app.get("/prices/last", response_model=PriceOut)
async def last_price(session: Session, ticker: str) -> Price:
    """The newest price."""
    query = select(Price).where(Price.ticker == ticker).order_by(Price.created_at.desc()).limit(1)
    if price := await session.scalar(query):
        return price
    raise HTTPException(404, "no price")


@app.get("/prices/filtered", response_model=PriceOut)
async def filtered_price(session: Session, ticker: str, date: datetime) -> Price:
    """The price of a minute."""
    minute = date.replace(second=0, microsecond=0)
    query = select(Price).where(Price.ticker == ticker, Price.created_at == minute)
    if price := await session.scalar(query):
        return price
    raise HTTPException(404, "no price")
